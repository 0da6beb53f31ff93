"""Keyboard, axe-core, narrow screens, themes and times."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.host import MOUNT
from tests.browser.visitor import PAGES, Visit
from tests.eventually import wait_for
from tests.receivers import Receiver


def test_an_endpoint_can_be_added_and_tested_with_the_keyboard_only(visit: Visit, receiver: Receiver) -> None:
    page = visit().open("endpoints")
    expect(page.get_by_role("heading", name="No endpoints yet")).to_be_visible()

    def reach(name: str, key: str = "Tab") -> None:
        for _ in range(60):
            page.keyboard.press(key)
            words = page.evaluate(
                "(() => { const one = document.activeElement; const label = one.labels?.[0]; "
                "return one.getAttribute('aria-label') ?? label?.innerText ?? one.innerText ?? '' })()"
            )
            if str(words).startswith(name):
                assert page.evaluate("document.activeElement.matches(':focus-visible')")
                return
        raise AssertionError(f"{name} cannot be reached by Tab.")

    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    reach("Add endpoint")
    page.keyboard.press("Enter")
    expect(page.get_by_label("URL")).to_be_visible()
    reach("URL")
    page.keyboard.type(receiver.url)
    reach("All events")
    page.keyboard.press("ArrowDown")
    reach("Search events")
    page.keyboard.type("invoice paid")
    reach("Invoice paid")
    page.keyboard.press("Space")
    reach("Add endpoint")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text(receiver.url)
    reach("Send test")
    page.keyboard.press("Enter")
    reach("Send test event")
    page.keyboard.press("Enter")
    expect(page.locator(".test-result")).to_contain_text("Delivered.")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.get_by_role("button", name="Send test", exact=True)).to_be_focused()


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 360)])
def test_no_page_has_a_serious_fault_of_accessibility_or_overflows(
    visit: Visit, receiver: Receiver, axe: str, scheme: str, width: int
) -> None:
    visitor = visit(color_scheme=scheme, viewport={"width": width, "height": 800}, reduced_motion="reduce")
    receiver.status = 500
    identifier = visitor.endpoint(receiver.url, eventTypes=["document.created"], headers={"x-one": "1"}, channels=["a"])
    identifier = visitor.endpoint(receiver.url, description="Another")
    event = visitor.emit("document.created", {"title": "A plan", "pages": 12, "draft": True})[0]
    wait_for(lambda: len(receiver.requests) == 1)
    addresses = [*PAGES, f"endpoints/{identifier}", f"endpoints/{identifier}/edit", f"events/{event}", "nowhere"]
    for address in addresses:
        page = visitor.open(address)
        check(page, axe, address)
    page = visitor.open(f"endpoints/{identifier}")
    for name in ("Send test", "Recover", "Rotate", "Delete"):
        page.get_by_role("button", name=name, exact=True).click()
        check(page, axe, name)
        page.keyboard.press("Escape")
    page.locator("table[aria-label=Deliveries] tbody a").first.click()
    check(page, axe, "attempt")
    page.keyboard.press("Escape")
    visitor.open("endpoints/new")
    page.get_by_label("Selected events").check()
    page.get_by_role("button", name="Add header").click()
    page.get_by_role("button", name="Add endpoint").click()
    check(page, axe, "form")


def check(page: Page, axe: str, where: str) -> None:
    expect(page.locator(".loader[aria-busy], .skeleton-bar")).to_have_count(0)
    # The policy of the page forbids a script tag, but does not bind the debugger.
    if not page.evaluate("'axe' in window"):
        page.evaluate(f"(() => {{ {axe} }})()")
    result = page.evaluate("axe.run({ resultTypes: ['violations'] })")
    serious = [one for one in result["violations"] if one["impact"] in ("serious", "critical")]
    told = [f"{where}: {one['id']}: {[node['html'][:200] for node in one['nodes'][:4]]}" for one in serious]
    assert told == []
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, where


def test_the_theme_follows_the_system_unless_the_address_says_otherwise(visit: Visit) -> None:
    visitor = visit(color_scheme="dark")
    for query, dark in (("", True), ("?theme=light", False), ("?theme=dark", True)):
        page = visitor.open("endpoints", at=f"{MOUNT}/dashboard{query}")
        colour = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
        assert (max(int(part) for part in re.findall(r"\d+", colour)) < 60) is dark


def test_times_are_in_the_readers_zone_with_the_exact_one_on_hover(visit: Visit) -> None:
    visitor = visit(timezone_id="Asia/Kathmandu", locale="en-GB")
    (identifier,) = visitor.emit("document.created", {})
    stamp = visitor.api.get(f"events/{identifier}").json()["timestamp"]
    page = visitor.open("events")
    shown = page.locator("table tbody time").last
    minutes = int(stamp[14:16])
    expect(shown).to_have_text(re.compile(rf"\d\d:{(minutes + 45) % 60:02d}:{stamp[17:19]}$"))
    expect(shown).to_have_attribute("title", re.compile(rf"GMT\+5:45\n{re.escape(stamp)}$"))
