"""Streams read by the `EventSource` of a browser, with the code of our own page."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from starlette_webhooks import Principal
from starlette_webhooks.portal.session import SESSION_COOKIE
from starlette_webhooks.sessions import Session
from starlette_webhooks.tokens import sign_token
from tests import plain
from tests.browser.host import MOUNT, READ
from tests.eventually import wait_for
from tests.servers import Server, serving

ACME = {"Authorization": "Bearer acme"}


@contextmanager
def opening(browser: Browser, server: Server, *, by_session: bool = False) -> Generator[Page]:
    """A page of a user of acme, who has signed in to the host, or will have a session of the portal."""
    context = browser.new_context()
    if not by_session:
        context.add_cookies([{"name": "user", "value": "acme:write", "url": server.url}])
    yield context.new_page()
    context.close()


def emit(server: Server, event_type: str, tenant: str = "acme") -> None:
    headers = {"Authorization": f"Bearer {tenant}"}
    plain.post(f"{server.url}{MOUNT}/test", json={"eventType": event_type}, headers=headers).raise_for_status()


def streams(server: Server) -> dict[str, Any]:
    return dict(plain.get(f"{server.url}/streams").json())


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
        with plain.stream("GET", f"{server.url}{MOUNT}/events/stream", headers=ACME):
            page.goto(f"{server.url}/page/{name}#acme")
            wait_for(lambda: streams(server)["rejected"])
        wait_for(lambda: streams(server)["begun"] == 2, timeout=20)
        emit(server, "invoice.paid")
        expect_events(page, "invoice.paid")


def test_a_browser_continues_after_the_next_sign_in(browser: Browser, tmp_path: Path) -> None:
    key = "k" * 32
    with (
        serving(tmp_path, app="tests.browser.streaming:app", secret_key=key) as server,
        opening(browser, server, by_session=True) as page,
    ):

        def sign_in(expires: int) -> None:
            claims = Session(Principal("acme", [READ]), expires, str(expires), "").claims()
            token = sign_token([key.encode()], "portal session", claims)
            page.context.add_cookies([{"name": SESSION_COOKIE, "value": token, "url": server.url}])

        sign_in(1)
        with page.expect_response("**/events/stream*"):
            page.goto(f"{server.url}/page/session")
        with page.expect_response("**/events/stream*") as again:
            pass
        assert again.value.status == 200
        assert streams(server)["opened"] == 0
        sign_in(4_000_000_000)
        wait_for(lambda: streams(server)["begun"] == 1)
        emit(server, "invoice.paid")
        expect_events(page, "invoice.paid")


def test_a_page_whose_session_of_the_host_has_expired_lets_its_user_sign_in(browser: Browser, tmp_path: Path) -> None:
    with (
        serving(tmp_path, app="tests.browser.streaming:app", stream_max_age="1") as server,
        opening(browser, server) as page,
    ):
        page.goto(f"{server.url}/page/sign-in")
        wait_for(lambda: streams(server)["opened"])
        page.context.clear_cookies()
        page.wait_for_url("**/sign-in")


@pytest.mark.parametrize("name", ["module", "session"])
def test_a_browser_gets_the_first_event_ever_although_it_is_not_connected_then(
    browser: Browser, tmp_path: Path, name: str
) -> None:
    app = "tests.browser.streaming:app"
    with serving(tmp_path, app=app) as server, opening(browser, server) as page:
        page.goto(f"{server.url}/page/{name}#acme")
        wait_for(lambda: streams(server)["begun"] == 1)
        server.kill()
        with serving(tmp_path, app=app) as elsewhere:
            emit(elsewhere, "invoice.paid")
        with serving(tmp_path, app=app, port=server.port):
            expect_events(page, "invoice.paid")


def test_a_browser_renews_its_ticket_and_misses_nothing(browser: Browser, tmp_path: Path) -> None:
    with (
        serving(tmp_path, app="tests.browser.streaming:app", ticket_max_age="1") as server,
        opening(browser, server) as page,
    ):
        page.goto(f"{server.url}/page/key#acme")
        for number, event_type in enumerate(["invoice.paid", "invoice.failed"], 1):
            # Emitted between two tickets, when no stream is open.
            wait_for(lambda number=number: streams(server)["closed"].get("expired", 0) >= number)  # type: ignore[misc]
            emit(server, event_type)
        expect_events(page, "invoice.paid", "invoice.failed")
