"""Read-only users, hostile text, and the mounts of the page."""

from __future__ import annotations

import json
import re

import pytest
from playwright.sync_api import expect

from tests.browser.host import MOUNT
from tests.browser.visitor import HOSTILE, PAGES, Visit, pill
from tests.eventually import wait_for
from tests.receivers import Receiver


def test_a_reader_sees_the_same_without_what_changes_things(visit: Visit, receiver: Receiver) -> None:
    owner = visit()
    identifier = owner.endpoint(receiver.url)
    (event,) = owner.emit("document.created", {"title": "Plan"})
    wait_for(lambda: receiver.requests)
    owner.open()
    reader = visit("read", tenant=owner.tenant)
    changing = re.compile("Add|Edit|Delete|Disable|Enable|Send|Resend|Recover|Rotate|Reveal|Save")
    pages = [*PAGES, f"endpoints/{identifier}", f"endpoints/{identifier}/edit", f"events/{event}"]
    for address in pages:
        page = reader.open(address)
        expect(page.get_by_text("Read only")).to_be_visible()
        expect(page.locator(".loader[aria-busy]")).to_have_count(0)
        controls = page.locator("main").locator("button, a.button")
        assert [text for text in controls.all_inner_texts() if changing.search(text)] == [], address
    page = reader.open(f"endpoints/{identifier}")
    page.locator("table[aria-label=Deliveries] tbody a").first.click()
    expect(page.get_by_role("dialog")).to_contain_text('"title": "Plan"')
    expect(page.get_by_role("dialog").get_by_role("button", name="Resend")).to_have_count(0)

    calls = {
        "POST": ["endpoints", "test", f"endpoints/{identifier}/recover", f"endpoints/{identifier}/secret/rotate"],
        "DELETE": [f"endpoints/{identifier}"],
        "PATCH": [f"endpoints/{identifier}"],
        "GET": [f"endpoints/{identifier}/secret"],
    }
    for method, paths in calls.items():
        for path in paths:
            script = "([method, url]) => fetch(url, {method}).then((answer) => answer.status)"
            assert page.evaluate(script, [method, f"{reader.server.url}{MOUNT}/{path}"]) == 403, path


def test_hostile_text_is_shown_as_text(visit: Visit, receiver: Receiver) -> None:
    visitor = visit()
    receiver.status = 500
    identifier = visitor.endpoint(f"{receiver.url}?<script>", description=HOSTILE[0])
    event = visitor.emit("document.created", {"texts": HOSTILE, HOSTILE[1]: {HOSTILE[3]: None}, "__proto__": {"x": 1}})[
        0
    ]
    large = visitor.emit("document.created", {"long": "ab<b>" * 200_000})[0]
    wait_for(lambda: len(receiver.requests) == 2)
    page = visitor.open("events")
    for address in (
        "endpoints",
        f"endpoints/{identifier}",
        f"endpoints/{identifier}/edit",
        "events",
        "live",
        "catalog",
    ):
        visitor.open(address)
        expect(page.locator(".loader[aria-busy]")).to_have_count(0)
        expect(page.locator("main img, main svg[onload], main script")).to_have_count(0)

    visitor.open(f"events/{event}")
    payload = page.get_by_role("group", name="Payload")
    for text in HOSTILE:
        shown = json.dumps(text, ensure_ascii=False)[1:-1].replace("\u202e", "\\u202e")
        expect(payload).to_contain_text(shown)
    page.locator(".delivery tbody a").first.click()
    expect(page.get_by_role("dialog")).to_contain_text(HOSTILE[2])
    page.keyboard.press("Escape")

    visitor.open(f"events/{large}")
    expect(page.get_by_role("button", name="Show all 1.0 MB")).to_be_visible()
    page.get_by_role("button", name="Show all 1.0 MB").click()
    assert len(payload.inner_text()) > 1_000_000
    assert "owned" not in page.title()
    assert page.locator("h1", has_text="owned").count() == 0
    links = page.evaluate("[...document.querySelectorAll('a')].map((link) => link.getAttribute('href'))")
    assert all(link.startswith("#") for link in links)


@pytest.mark.parametrize("at", ["/settings/webhooks/", f"/hidden{MOUNT}/dashboard", "/hidden/settings/webhooks/"])
def test_the_page_works_at_any_mount(visit: Visit, receiver: Receiver, at: str) -> None:
    visitor = visit()
    visitor.endpoint(receiver.url)
    page = visitor.open("endpoints", at=at)
    page.get_by_role("link", name=receiver.url).click()
    page.get_by_role("button", name="Send test", exact=True).click()
    page.get_by_role("button", name="Send test event").click()
    expect(page.locator(".test-result")).to_contain_text("Delivered.")
    page.keyboard.press("Escape")
    page.get_by_role("link", name="Live", exact=True).click()
    expect(pill(page, "Live")).to_be_visible()


def test_a_link_opens_the_page_for_a_customer_with_only_an_api_key(visit: Visit) -> None:
    visitor = visit("")
    url = visitor.api.post("portal", json={}).json()["url"]
    page = visitor.page
    page.goto(url)
    expect(page.get_by_role("heading", level=1)).to_contain_text("Open the webhooks of")
    page.get_by_role("button", name="Open").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Getting started")
    assert "token" not in page.url
    (cookie,) = visitor.context.cookies()
    assert (cookie["path"], cookie["httpOnly"], cookie["sameSite"]) == (MOUNT, True, "Lax")
    page.get_by_role("link", name="Add endpoint").click()
    page.get_by_label("URL").fill("http://127.0.0.1:9/x")
    page.get_by_role("button", name="Add endpoint").click()
    expect(page.locator(".notice.good")).to_contain_text("Endpoint added.")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Please sign in")
    assert visitor.context.cookies() == []
