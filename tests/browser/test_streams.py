"""Streams read by the `EventSource` of a browser, with the code of our own page."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page

from tests.browser.host import MOUNT
from tests.eventually import wait_for
from tests.servers import Server, serving

ACME = {"Authorization": "Bearer acme"}


@contextmanager
def opening(browser: Browser, server: Server) -> Generator[Page]:
    """A page of a user of acme."""
    context = browser.new_context()
    context.add_cookies([{"name": "user", "value": "acme:write", "url": server.url}])
    yield context.new_page()
    context.close()


def emit(server: Server, event_type: str) -> None:
    httpx.post(f"{server.url}{MOUNT}/test", json={"eventType": event_type}, headers=ACME).raise_for_status()


def streams(server: Server) -> dict[str, Any]:
    return dict(httpx.get(f"{server.url}/streams").json())


def expect_events(page: Page, *event_types: str) -> None:
    """Wait until the page has seen these events, in this order, and no others."""
    wanted = json.dumps(event_types, separators=(",", ":"))
    page.wait_for_function("(wanted) => JSON.stringify(window.seen) === wanted", arg=wanted, timeout=20_000)


@pytest.mark.parametrize("name", ["module", "session", "key"])
def test_a_browser_over_the_limit_of_streams_retries_until_there_is_room(
    browser: Browser, tmp_path: Path, name: str
) -> None:
    with (
        serving(tmp_path, app="tests.browser.streaming:app", streams_per_tenant="1") as server,
        opening(browser, server) as page,
    ):
        with httpx.stream("GET", f"{server.url}{MOUNT}/events/stream", headers=ACME):
            page.goto(f"{server.url}/page/{name}#acme")
            wait_for(lambda: streams(server)["rejected"])
        wait_for(lambda: streams(server)["opened"] == 2 and streams(server)["streams"] == 1, timeout=20)
        emit(server, "invoice.paid")
        expect_events(page, "invoice.paid")


def test_a_browser_renews_its_ticket_and_misses_nothing(browser: Browser, tmp_path: Path) -> None:
    with (
        serving(tmp_path, app="tests.browser.streaming:app", ticket_max_age="1") as server,
        opening(browser, server) as page,
    ):
        emit(server, "invoice.created")
        page.goto(f"{server.url}/page/key#acme")
        for number, event_type in enumerate(["invoice.paid", "invoice.failed"], 1):
            # Emitted between two tickets, when no stream is open.
            wait_for(lambda number=number: streams(server)["closed"].get("expired", 0) >= number)  # type: ignore[misc]
            emit(server, event_type)
        expect_events(page, "invoice.paid", "invoice.failed")
