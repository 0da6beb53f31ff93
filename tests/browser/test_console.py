"""The console in a browser: one night of an operator, light and wide, dark and narrow."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.test_accessibility import check
from tests.browser.visitor import Visit, Visitor, pill
from tests.receivers import Receiver


def sign_in(visitor: Visitor, access: str = "write", *, url: str | None = None) -> Page:
    """Sign the visitor in as an operator, and as nobody else."""
    cookie = {"name": "operator", "value": f"olga:{access}", "url": url or visitor.server.url}
    visitor.context.add_cookies([cookie])  # type: ignore[list-item]
    return visitor.page


def picture(page: Page, name: str) -> None:
    """Take a picture, if someone wants to look at them."""
    folder = os.environ.get("CONSOLE_PICTURES")
    if folder:
        page.screenshot(path=Path(folder, f"{name}.png"), full_page=True)


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_an_operator_finds_what_fails_and_mends_it(
    visit: Visit, receiver: Receiver, axe: str, scheme: str, width: int
) -> None:
    visitor = visit("", color_scheme=scheme, viewport={"width": width, "height": 800}, timezone_id="Asia/Tokyo")
    receiver.status = 503
    endpoint = visitor.endpoint(f"{receiver.url}?token=hunter2")
    (event,) = visitor.emit("document.created", {"title": "Plan"})
    page = sign_in(visitor)

    def look(name: str) -> None:
        check(page, axe, name)
        picture(page, f"{name}-{scheme}-{width}")

    page.goto(f"{visitor.server.url}/operate/")
    # The figures are renewed without a reload.
    expect(page.locator(".tile", has_text="Failing endpoints")).to_contain_text(re.compile("[1-9]"), timeout=15000)
    look("overview")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()

    page.get_by_role("link", name="Tenants").click()
    page.get_by_label("Name starts with").fill(visitor.tenant)
    page.keyboard.press("Enter")
    row = page.locator("table[aria-label=Tenants] tbody tr")
    expect(row).to_have_count(1)
    expect(pill(row, "1 failing")).to_be_visible()
    look("tenants")
    row.get_by_role("link", name=visitor.tenant).click()
    page.locator("table[aria-label=Endpoints] tbody").get_by_role("link").first.click()
    expect(page.locator(".notice.bad")).to_contain_text("Last answer: HTTP 503")
    expect(page.locator("table[aria-label=Attempts] time").first).to_have_attribute("title", re.compile("GMT\\+9"))
    look("endpoint")

    page.get_by_role("link", name="document.created").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("document.created")
    expect(page.get_by_text('"title": "Plan"')).to_have_count(0)
    page.get_by_role("button", name="Show payload and answers").click()
    expect(page.get_by_role("group", name="Payload")).to_contain_text('"title": "Plan"')
    assert "hunter2" not in page.content()
    look("event")

    page.goto(f"{visitor.server.url}/operate/endpoints/{endpoint}")
    page.get_by_role("button", name="Disable").click()
    expect(page.locator(".notice.good")).to_have_text("The endpoint is disabled. Its deliveries wait.")
    page.get_by_role("button", name="Enable").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".notice.good")).to_have_text("The endpoint is enabled.")

    page.get_by_role("link", name="Undelivered", exact=True).last.click()
    expect(page.get_by_text(event)).to_be_visible()
    look("undelivered")
    receiver.status = 200
    page.get_by_role("link", name="Retry all of these…").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Retry 1 delivery?")
    look("confirm")
    page.get_by_role("button", name="Retry now").click()
    expect(page.locator(".notice.good")).to_contain_text("Done.")
    look("retry")
    page.get_by_role("link", name="Dead letters").click()
    expect(page.get_by_role("heading", name="No dead letters")).to_be_visible()
    look("dead-letters")


def test_an_operator_who_may_only_look_has_no_actions(visit: Visit, receiver: Receiver) -> None:
    visitor = visit("")
    endpoint = visitor.endpoint(receiver.url)
    page = sign_in(visitor, "read")
    page.goto(f"{visitor.server.url}/operate/endpoints/{endpoint}")
    expect(page.get_by_text("Read only")).to_be_visible()
    expect(page.get_by_role("button", name="Disable")).to_have_count(0)


def test_actions_work_over_http_where_browsers_do_not_send_fetch_metadata(visit: Visit, receiver: Receiver) -> None:
    visitor = visit("")
    endpoint = visitor.endpoint(receiver.url)
    url = visitor.server.url.replace("127.0.0.1", "host.test")
    page = sign_in(visitor, url=url)
    page.goto(f"{url}/operate/endpoints/{endpoint}")
    with page.expect_request(lambda request: request.method == "POST") as sent:
        page.get_by_role("button", name="Disable").click()
    assert "sec-fetch-site" not in sent.value.all_headers()
    expect(page.locator(".notice.good")).to_have_text("The endpoint is disabled. Its deliveries wait.")
    # The browser says that it ignores one of the headers here.
    visitor.errors[:] = [error for error in visitor.errors if "Cross-Origin-Opener-Policy" not in error]


def test_a_page_of_somebody_else_does_not_replace_the_figures(visit: Visit) -> None:
    visitor = visit("")
    page = sign_in(visitor)
    page.clock.install()
    page.goto(f"{visitor.server.url}/operate/")
    page.route("**/operate/", lambda route: route.fulfill(content_type="text/html", body="<h1>Sign in</h1>"))
    page.clock.run_for(3100)
    expect(page.get_by_text("Connection lost.")).to_be_visible()
    expect(page.get_by_role("heading", level=1)).to_have_text("Overview")
    page.unroute("**/operate/")
    page.clock.run_for(3100)
    expect(page.get_by_text("Connection lost.")).to_be_hidden()
    expect(page.locator(".tile").first).to_be_visible()
