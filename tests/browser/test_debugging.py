"""What somebody needs whose endpoint fails: copies, links to share, charts, and errors in words."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Route, expect

from tests.browser.visitor import IN_AN_HOUR, Visit, pill, wait_with
from tests.eventually import wait_for
from tests.receivers import Receiver

LONG = f"/{'segment/' * 12}the-end"


def test_an_id_in_a_row_is_selected_without_opening_the_row_and_copied(visit: Visit) -> None:
    visitor = visit(permissions=["clipboard-read", "clipboard-write"])
    (event,) = visitor.emit("document.created", {})
    page = visitor.open("events")
    text = page.get_by_text(event)
    text.dblclick()
    assert page.evaluate("getSelection().toString()").strip() == event
    expect(page.get_by_role("heading", level=1)).to_have_text("Events")
    page.get_by_role("button", name="Copy event id").click()
    assert page.evaluate("navigator.clipboard.readText()") == event
    page.evaluate("getSelection().empty()")
    page.get_by_role("link", name="document.created").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("document.created")


def test_an_attempt_has_an_address_of_its_own(visit: Visit, receiver: Receiver) -> None:
    visitor = visit()
    visitor.endpoint(receiver.url)
    visitor.emit("document.created", {"title": "Plan"})
    wait_for(lambda: receiver.requests)
    page = visitor.open("endpoints")
    page.get_by_role("link", name=receiver.url).click()
    link = page.locator("table[aria-label=Deliveries] tbody a")
    link.click()
    expect(page.get_by_role("dialog")).to_contain_text('"title": "Plan"')
    page.keyboard.press("Escape")
    expect(page.get_by_role("heading", level=1)).to_contain_text(receiver.url)
    address = link.get_attribute("href")
    assert address is not None
    page = visitor.open(address.removeprefix("#/"))
    expect(page.get_by_role("dialog")).to_contain_text("Attempt 1")
    page.keyboard.press("Escape")
    expect(page.get_by_role("heading", level=1)).to_have_text("document.created")


def test_a_url_is_shortened_in_the_middle_and_its_query_is_masked_until_asked(visit: Visit) -> None:
    visitor = visit()
    url = f"http://127.0.0.1:9{LONG}?token=hunter2"
    identifier = visitor.endpoint(url)
    page = visitor.open("endpoints")
    row = page.locator("table[aria-label=Endpoints] tbody tr")
    expect(row).to_contain_text(re.compile(r"http://127\.0\.0\.1:9/segment/.*….*the-end\?••••"))
    assert "hunter2" not in page.content()
    visitor.open(f"endpoints/{identifier}")
    heading = page.get_by_role("heading", level=1)
    expect(heading).to_contain_text("the-end?••••")
    assert "hunter2" not in page.content() + page.title()
    page.get_by_role("button", name="Show the whole URL").click()
    expect(heading).to_contain_text(url)


def test_endpoints_are_found_by_url_description_and_id(visit: Visit) -> None:
    visitor = visit()
    billing = visitor.endpoint("http://127.0.0.1:9/billing", description="Invoices")
    visitor.endpoint("http://127.0.0.1:9/crm")
    page = visitor.open("endpoints")
    rows = page.locator("table[aria-label=Endpoints] tbody tr")
    expect(rows).to_have_count(2)
    search = page.get_by_label("Search by URL, description or id")
    for text, found in (
        ("BILL", "/billing"),
        ("/crm", "/crm"),
        ("invoices", "/billing"),
        ("crm", "/crm"),
        (billing, "/billing"),
    ):
        search.fill(text)
        search.press("Enter")
        expect(rows).to_have_count(1)
        expect(rows).to_contain_text(found)
    page.reload()
    expect(rows).to_have_count(1)
    search.fill("nothing like this")
    search.press("Enter")
    expect(page.get_by_role("heading", name="No matches")).to_be_visible()


def test_a_bar_of_the_chart_opens_its_attempts(visit: Visit, receiver: Receiver) -> None:
    visitor = visit()
    identifier = visitor.endpoint(receiver.url)
    page = visitor.open(f"endpoints/{identifier}")
    expect(page.get_by_text("Copy the signing secret")).to_be_visible()
    expect(page.locator(".tile")).to_have_count(0)
    visitor.emit("document.created", {})
    wait_for(lambda: visitor.api.get(f"endpoints/{identifier}/stats").json()["success"])
    page.reload()
    expect(page.locator(".tile", has_text="Response time")).to_contain_text(re.compile(r"\d m?s"))
    for period, bars in (("1", 24), ("7", 28), ("30", 30)):
        page.get_by_label("Period").select_option(period)
        expect(page.locator(".bar")).to_have_count(bars)
        expect(page.get_by_role("link", name="1 success, 0 failures")).to_have_count(1)
    page.get_by_role("link", name="1 success, 0 failures").click()
    expect(page.get_by_label("Time", exact=True)).to_have_value("custom")
    expect(page.locator("table[aria-label=Deliveries] tbody tr")).to_have_count(1)


def test_an_error_is_at_its_field_in_words_for_people(visit: Visit) -> None:
    page = visit().open("endpoints/new")
    page.get_by_label("URL").fill("http://127.0.0.1:9/x")
    page.get_by_label("Channels").fill("with spaces, ok")
    page.get_by_role("button", name="Add endpoint").click()
    channels = page.get_by_label("Channels")
    expect(channels).to_be_focused()
    expect(channels).to_have_attribute("aria-invalid", "true")
    expect(channels).to_have_accessible_description(re.compile("Use at most 10 channels"))
    channels.fill("")
    page.get_by_label("Rate limit").fill("20000")
    page.get_by_role("button", name="Add endpoint").click()
    expect(page.get_by_label("Rate limit")).to_be_focused()
    expect(page.get_by_role("alert")).to_have_text("Enter a whole number from 1 to 10,000, or nothing for no limit.")


def test_a_form_keeps_event_types_that_were_retired(visit: Visit) -> None:
    visitor = visit()
    identifier = visitor.endpoint("http://127.0.0.1:9/x", eventTypes=["invoice.paid", "document.shared"])
    catalog = visitor.api.get("event-types").json()
    kept = [one for one in catalog["eventTypes"] if one["name"] != "document.shared"]
    visitor.page.route("**/event-types", lambda route: route.fulfill(json={"eventTypes": kept}))
    page = visitor.open(f"endpoints/{identifier}/edit")
    expect(page.get_by_text("No longer in the catalog")).to_be_visible()
    page.get_by_label("Description").fill("Changed")
    page.get_by_role("button", name="Save changes").click()
    expect(page.get_by_text("Changes saved")).to_be_visible()
    changed = visitor.api.get(f"endpoints/{identifier}").json()
    assert (changed["description"], changed["eventTypes"]) == ("Changed", ["invoice.paid", "document.shared"])


@pytest.mark.parametrize("known", [True, False])
def test_a_filter_shows_its_event_type_without_the_catalog_or_if_that_lacks_it(visit: Visit, known: bool) -> None:
    visitor = visit()
    identifier = visitor.endpoint("http://127.0.0.1:9/x")
    answer: dict[str, Any] = {"json": {"eventTypes": [{"name": "invoice.paid"}]}} if known else {"status": 500}
    visitor.page.route("**/event-types", lambda route: route.fulfill(**answer))
    for address in ("events", "undelivered", f"endpoints/{identifier}"):
        with visitor.page.expect_response("**/event-types"):
            # Only the fragment differs, and each page is to read the catalog.
            visitor.page.goto("about:blank")
            page = visitor.open(f"{address}?type=document.shared")
        chosen = page.get_by_label("Event type")
        expect(chosen.locator("option")).to_have_count(3 if known else 2)
        expect(chosen).to_have_value("document.shared")
        chosen.select_option("")
        expect(page).not_to_have_url(re.compile("document.shared"))


def test_a_dialog_does_not_open_over_another_page(visit: Visit) -> None:
    visitor = visit()
    identifier = visitor.endpoint("http://127.0.0.1:9/x")
    held: list[Route] = []
    visitor.page.route("**/event-types", lambda route: held.append(route))
    with visitor.page.expect_request("**/event-types"):
        page = visitor.open(f"endpoints/{identifier}")
    page.get_by_role("button", name="Send test").click()
    page.get_by_role("link", name="Live", exact=True).click()
    expect(page.get_by_role("heading", name="Live")).to_be_visible()
    wait_with(page, lambda: held)
    held[0].continue_()
    expect(page.get_by_label("Event type").locator("option")).not_to_have_count(1)
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_nothing_is_offered_that_a_disabled_endpoint_would_refuse(visit: Visit, receiver: Receiver) -> None:
    visitor = visit()
    identifier = visitor.endpoint(receiver.url)
    (event,) = visitor.emit("document.created", {})
    wait_for(lambda: receiver.requests)
    visitor.api.patch(f"endpoints/{identifier}", json={"disabled": True})
    page = visitor.open(f"endpoints/{identifier}")
    expect(pill(page, "Disabled")).to_be_visible()
    for name in ("Send test", "Recover"):
        expect(page.get_by_role("button", name=name)).to_have_count(0)
    visitor.open(f"events/{event}")
    expect(page.locator(".delivery")).to_be_visible()
    expect(page.get_by_role("button", name="Resend")).to_have_count(0)


def test_an_embedded_portal_leaves_its_navigation_out_and_follows_the_theme_of_the_page_around_it(visit: Visit) -> None:
    visitor = visit()
    page = visitor.page
    page.goto(f"{visitor.server.url}/streams")
    address = "/api/v1/webhooks/dashboard?nav=none&theme=light#/events"
    page.evaluate(
        "(src) => document.body.replaceChildren(Object.assign(document.createElement('iframe'), { src }))",
        address,
    )
    inside = page.frame_locator("iframe")
    expect(inside.get_by_role("heading", name="No events yet")).to_be_visible()
    expect(inside.get_by_role("navigation")).to_have_count(0)
    for theme, shown in (("dark", "dark"), ("light", "light")):
        page.evaluate("(theme) => frames[0].postMessage({ theme }, '*')", theme)
        expect(inside.locator("html")).to_have_attribute("data-theme", shown)
    # Of other pages, and of the portal itself, nothing is taken.
    page.frames[1].evaluate("window.postMessage({ theme: 'dark' }, '*')")
    page.evaluate("frames[0].postMessage({ theme: 'pink' }, '*')")
    page.frames[1].evaluate("new Promise((resolve) => setTimeout(resolve))")
    expect(inside.locator("html")).to_have_attribute("data-theme", "light")


def test_the_page_names_the_tenant_and_the_time_zone(visit: Visit) -> None:
    visitor = visit(timezone_id="Asia/Kathmandu")
    page = visitor.open("endpoints")
    expect(page.locator(".tenant")).to_have_text(visitor.tenant)
    expect(page.get_by_text("Asia/Katmandu").or_(page.get_by_text("Asia/Kathmandu"))).to_be_visible()


def test_a_failing_endpoint_comes_first_says_why_and_what_it_missed_is_retried(
    visit: Visit, receiver: Receiver
) -> None:
    visitor = visit()
    receiver.status = 503
    failing = visitor.endpoint(receiver.url)
    visitor.emit("document.created", {"title": "Plan"})
    wait_for(lambda: visitor.api.get(f"endpoints/{failing}").json()["health"]["failingSince"])
    visitor.endpoint("http://127.0.0.1:9/new")
    page = visitor.open("endpoints")
    rows = page.locator("table[aria-label=Endpoints] tbody tr")
    expect(pill(rows.nth(0), "Failing")).to_be_visible()
    expect(pill(rows.nth(1), "Enabled")).to_be_visible()
    rows.nth(0).get_by_role("link").click()
    banner = page.locator(".notice.bad")
    expect(banner).to_contain_text(
        re.compile(r"Failing since .* Last answer: HTTP 503\. It will be disabled in [45] days")
    )
    expect(banner).to_contain_text("1 delivery is waiting for it.")

    banner.get_by_role("link", name="See what was not delivered").click()
    missed = page.locator("table[aria-label=Undelivered] tbody tr")
    expect(missed).to_have_count(1)
    expect(missed).to_contain_text("HTTP 503")
    receiver.status = 200
    page.get_by_role("button", name="Retry all of these").click()
    expect(page.get_by_role("dialog")).to_contain_text("Retry 1 delivery?")
    page.get_by_role("button", name="Retry now").click()
    expect(page.get_by_role("dialog")).to_contain_text("1 of 1 delivery sent again: 1 succeeded, 0 failed.")
    page.keyboard.press("Escape")
    expect(page.get_by_role("heading", name="No matches")).to_be_visible()


def test_what_waits_for_an_endpoint_that_does_not_answer_is_due_now(visit: Visit) -> None:
    visitor = visit()
    identifier = visitor.endpoint("http://127.0.0.1:9/nobody")
    visitor.emit("document.created", *[{"number": number} for number in range(20)])
    wait_for(lambda: visitor.api.get(f"endpoints/{identifier}").json()["health"]["failingSince"])
    page = visitor.open(f"endpoints/{identifier}")
    expect(page.locator(".notice.bad")).to_contain_text("Last error: connection refused. It will be disabled in ")
    visitor.open("undelivered")
    tried = page.locator("table[aria-label=Undelivered] tbody tr")
    expect(tried.filter(has_text=IN_AN_HOUR).first).to_contain_text("connection refused · 1 attempt")
    untried = tried.filter(has_text="No attempt yet").first
    expect(untried).not_to_contain_text("attempts")
    expect(untried.locator("td").last).to_have_text("now")


def test_selected_deliveries_are_counted_and_retried_with_their_progress(visit: Visit, receiver: Receiver) -> None:
    visitor = visit()
    receiver.status = 503
    visitor.endpoint(receiver.url)
    events = visitor.emit("document.created", *[{"number": number} for number in range(3)])
    wait_for(lambda: len(visitor.api.get("undelivered?state=failing").json()["undelivered"]) == 3)
    page = visitor.open("undelivered")
    rows = page.locator("table[aria-label=Undelivered] tbody tr")
    expect(rows).to_have_count(3)
    selected = page.get_by_role("button", name=re.compile("selected"))
    expect(selected).to_be_hidden()
    rows.nth(0).get_by_role("checkbox").check()
    page.get_by_label("Select all that are shown").check()
    expect(selected).to_have_text("Retry 3 selected")
    rows.nth(1).get_by_role("checkbox").uncheck()
    receiver.status = 200
    selected.click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Retry 2 deliveries?")
    page.get_by_role("button", name="Retry now").click()
    expect(dialog).to_contain_text("2 of 2 deliveries sent again: 2 succeeded, 0 failed.")
    page.keyboard.press("Escape")
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text(events[1])
    expect(selected).to_be_hidden()


def test_selected_events_are_retried_where_they_failed(visit: Visit, receiver: Receiver) -> None:
    visitor = visit()
    receiver.status = 503
    visitor.endpoint(receiver.url, eventTypes=["document.created"])
    visitor.emit("document.created", {"number": 1}, {"number": 2})
    visitor.emit("invoice.failed", {"reason": "declined"})
    wait_for(lambda: len(visitor.api.get("undelivered?state=failing").json()["undelivered"]) == 2)
    page = visitor.open("events")
    rows = page.locator("table[aria-label=Events] tbody tr")
    expect(rows).to_have_count(3)
    # There is nothing to retry for the event that was not sent.
    expect(rows.nth(0).get_by_role("checkbox")).to_have_count(0)
    page.get_by_label("Select all that are shown").check()
    expect(page.get_by_role("button", name="Retry 2 selected")).to_be_visible()
    rows.nth(1).get_by_role("checkbox").uncheck()
    receiver.status = 200
    page.get_by_role("button", name="Retry 1 selected").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Retry 1 delivery?")
    page.get_by_role("button", name="Retry now").click()
    expect(dialog).to_contain_text("1 of 1 delivery sent again: 1 succeeded, 0 failed.")
    page.keyboard.press("Escape")
    expect(pill(rows.nth(2), "Delivered")).to_be_visible()
    expect(pill(rows.nth(1), "Retrying")).to_be_visible()


def test_many_endpoints_of_an_event_are_shown_in_parts(visit: Visit) -> None:
    visitor = visit()
    for number in range(22):
        visitor.endpoint(f"http://127.0.0.1:9/{number}", disabled=True)
    (event,) = visitor.emit("document.created", {})
    page = visitor.open(f"events/{event}")
    page.get_by_text("Not sent to 22 endpoints").click()
    rows = page.locator(".rest li")
    expect(rows).to_have_count(20)
    page.get_by_role("button", name="Show more (2 left)").click()
    expect(rows).to_have_count(22)
    expect(page.get_by_role("button", name="Show more")).to_have_count(0)


def test_the_bar_of_a_selection_covers_nothing_and_its_room_goes_with_it(visit: Visit, receiver: Receiver) -> None:
    visitor = visit()
    receiver.status = 503
    visitor.endpoint(receiver.url)
    visitor.emit("document.created", *[{"number": number} for number in range(12)])
    wait_for(lambda: len(visitor.api.get("undelivered").json()["undelivered"]) == 12)
    page = visitor.open("undelivered")
    room = page.locator(".content")
    for leave in (page.get_by_role("button", name="Clear the selection"), page.get_by_role("link", name="Endpoints")):
        expect(page.locator("tbody tr")).to_have_count(12)
        page.get_by_label("Select all that are shown").check()
        expect(room).to_have_css("padding-bottom", "56px")
        page.mouse.wheel(0, 10_000)
        foot, bar = page.locator("footer"), page.get_by_role("group", name="What is selected")
        expect(foot).to_be_in_viewport()
        (foot_box, bar_box) = (foot.bounding_box(), bar.bounding_box())
        assert foot_box is not None
        assert bar_box is not None
        assert foot_box["y"] + foot_box["height"] <= bar_box["y"] + 1
        leave.click()
        expect(room).to_have_css("padding-bottom", "0px")
