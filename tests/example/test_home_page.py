"""The home page of the example app in a real browser, on each of its hosts."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.chromium import starting_chromium
from tests.servers import serving


@pytest.fixture(scope="module")
def browser() -> Generator[Browser]:
    with starting_chromium() as started:
        yield started


@pytest.mark.parametrize("host", ["starlette", "fastapi", "litestar"])
def test_visitor_signs_in_makes_things_and_sees_the_events(host: str, browser: Browser, tmp_path: Path) -> None:
    with serving(tmp_path, app=f"example_app.{host}_app:app") as server, browser.new_context() as context:
        page = context.new_page()
        page.set_default_timeout(8000)
        refused: list[str] = []
        page.on("console", lambda message: refused.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: refused.append(str(error)))

        page.goto(server.url)
        page.get_by_label("Email").fill("ada@example.com")
        page.get_by_label("Password").fill("ada-demo")
        page.get_by_role("button", name="Sign in").click()

        page.get_by_label("Title").fill("Minutes <b>of</b> May")
        page.get_by_role("button", name="Create document").click()
        expect(page.get_by_text("Minutes <b>of</b> May")).to_be_visible()
        expect(page.locator("#events")).to_contain_text("document.created")

        # The page is not reloaded here, so this event comes over the stream.
        page.get_by_label("Name").fill("ci")
        page.get_by_role("button", name="Create key").click()
        expect(page.get_by_text("Copy the key now")).to_contain_text("sk_")
        expect(page.locator("#events li").first).to_contain_text("api_key.created")

        page.reload()
        page.get_by_role("button", name="Revoke").click()
        expect(page.get_by_role("button", name="Revoke")).to_have_count(0)
        expect(page.locator("#events li").first).to_contain_text("api_key.revoked")

        page.get_by_role("link", name="Webhooks").click()
        expect(page.get_by_role("heading").first).to_be_visible()
        page.goto(server.url)
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("button", name="Sign in")).to_be_visible()
        assert refused == []
