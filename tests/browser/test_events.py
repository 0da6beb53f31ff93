"""The log, the live view, and a lost connection."""

from __future__ import annotations

import re

from playwright.sync_api import Route, expect

from tests.browser.visitor import IN_AN_HOUR, Visit, pill, wait_with
from tests.eventually import wait_for
from tests.receivers import Receiver


def test_events_are_listed_filtered_paged_and_resent(visit: Visit, receiver: Receiver) -> None:
    visitor = visit()
    receiver.status = 500
    visitor.endpoint(receiver.url, eventTypes=["invoice.failed"], description="Here")
    visitor.emit("document.created", *[{"number": number} for number in range(60)])
    visitor.emit("invoice.failed", {"reason": "declined"})
    wait_for(lambda: receiver.requests)
    page = visitor.open("events")
    rows = page.locator("table[aria-label=Events] tbody tr")
    expect(rows).to_have_count(25)
    expect(rows.first).to_contain_text("invoice.failed")
    for shown in (50, 61):
        page.get_by_role("button", name="Load more").click()
        expect(rows).to_have_count(shown)
    expect(rows.last).to_contain_text('{"number":0}')
    page.get_by_label("Event type").select_option("invoice.failed")
    expect(rows).to_have_count(1)
    page.get_by_label("Time", exact=True).select_option("3600")
    expect(rows).to_have_count(1)
    page.reload()
    expect(rows).to_have_count(1)
    page.get_by_label("Time", exact=True).select_option("custom")
    page.get_by_label("To", exact=True).fill("2020-01-01T00:00")
    page.get_by_label("To", exact=True).blur()
    expect(page.get_by_role("heading", name="No matches")).to_be_visible()
    page.get_by_label("To", exact=True).fill("")
    page.get_by_label("To", exact=True).blur()
    rows.get_by_role("link").click()

    expect(page.get_by_role("group", name="Payload")).to_contain_text('"reason": "declined"')
    delivery = page.locator(".delivery")
    expect(pill(delivery, "Retrying")).to_be_visible()
    expect(delivery).to_contain_text(IN_AN_HOUR)
    receiver.status = 200
    delivery.get_by_role("button", name="Resend").click()
    # The attempt is shown as soon as it was made.
    expect(page.get_by_role("dialog")).to_contain_text("Manual")
    page.keyboard.press("Escape")
    expect(pill(delivery, "Delivered")).to_be_visible()
    expect(delivery.locator("tbody tr")).to_have_count(2)
    delivery.get_by_role("link", name="Attempt #2").click()
    expect(page.get_by_role("dialog")).to_contain_text("Manual")


def test_events_are_found_by_state_text_and_id_and_say_why_they_were_not_sent(visit: Visit, receiver: Receiver) -> None:
    visitor = visit()
    receiver.status = 500
    visitor.endpoint(receiver.url, eventTypes=["invoice.failed"], description="Here")
    visitor.endpoint("http://127.0.0.1:9/off", description="Off", disabled=True)
    (unsent,) = visitor.emit("document.created", {"title": "Ada's plan"})
    visitor.emit("invoice.failed", {"reason": "declined"})
    wait_for(lambda: visitor.api.get("events/search", params={"state": "failing"}).json()["events"])
    page = visitor.open("events")
    rows = page.locator("table[aria-label=Events] tbody tr")
    expect(pill(rows.nth(0), "Retrying")).to_be_visible()
    expect(pill(rows.nth(1), "Not sent")).to_be_visible()
    page.get_by_label("State").select_option("failing")
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text('{"reason":"declined"}')
    page.get_by_label("Endpoint").select_option("Here")
    expect(rows).to_have_count(1)
    page.get_by_label("Endpoint").select_option("Off")
    expect(page.get_by_role("heading", name="No matches")).to_be_visible()
    page.get_by_label("Endpoint").select_option("")
    page.get_by_label("State").select_option("")
    search = page.get_by_label("Search in payloads, or an event id")
    search.fill("Ada's plan")
    search.press("Enter")
    expect(rows).to_have_count(1)
    assert "text=Ada" in page.url
    search.fill(unsent)
    search.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("document.created")
    expect(page.get_by_text("This event was not delivered to any endpoint.")).to_be_visible()
    page.get_by_text("Not sent to 2 endpoints").click()
    expect(page.get_by_text("Not subscribed to this event type")).to_be_visible()
    expect(page.locator(".rest")).to_contain_text("Disabled")
    # Up to a date there is nothing.
    visitor.open("events")
    page.get_by_label("Time", exact=True).select_option("until")
    expect(page.get_by_label("From", exact=True)).to_be_hidden()
    page.get_by_label("To", exact=True).fill("2020-01-01T00:00")
    page.get_by_label("To", exact=True).blur()
    expect(page.get_by_role("heading", name="No matches")).to_be_visible()


def test_an_event_of_many_endpoints_shows_the_first_ones_while_it_reads_the_others(
    visit: Visit, receiver: Receiver
) -> None:
    visitor = visit()
    for name in ("first", "second", "third"):
        visitor.endpoint(f"{receiver.url}/{name}", description=name)
    (event,) = visitor.emit("document.created", {"title": "Plan"})
    wait_for(lambda: len(receiver.requests) == 3)
    held: list[Route] = []

    def one_at_a_time(route: Route) -> None:
        url = re.sub(r"limit=\d+", "limit=1", route.request.url)
        if "cursor=" in url and not held:
            held.append(route)
        else:
            route.continue_(url=url)

    visitor.page.route(f"**/events/{event}/deliveries?*", one_at_a_time)
    page = visitor.open(f"events/{event}")
    expect(page.locator(".delivery")).to_have_count(1)
    expect(page.get_by_text("Reading the other endpoints…")).to_be_visible()
    # They are read after the frame that shows the first ones.
    wait_with(page, lambda: held)
    held[0].continue_(url=re.sub(r"limit=\d+", "limit=1", held[0].request.url))
    expect(page.locator(".delivery")).to_have_count(3)
    expect(page.get_by_text("Reading the other endpoints…")).to_have_count(0)
    # The other endpoints cannot be read.
    held.clear()
    page.reload()
    expect(page.locator(".delivery")).to_have_count(1)
    wait_with(page, lambda: held)
    held[0].fulfill(status=503, json={"code": "unavailable", "detail": "Later."})
    expect(page.get_by_role("heading", name="Loading failed")).to_be_visible()
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".delivery")).to_have_count(3)


def test_live_view_shows_events_as_they_happen_and_collects_them_while_paused(visit: Visit) -> None:
    visitor = visit()
    visitor.emit("document.created", {"before": True})
    page = visitor.open("live")
    rows = page.locator(".live li")
    expect(pill(page, "Live")).to_be_visible()
    expect(rows).to_have_count(1)
    visitor.emit("invoice.created", {"number": 1})
    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text('{"number":1}')

    page.get_by_role("button", name="Pause").click()
    expect(pill(page, "Paused")).to_be_visible()
    visitor.emit("invoice.created", {"number": 2}, {"number": 3})
    expect(page.get_by_text("2 new events while paused")).to_be_visible()
    expect(rows).to_have_count(2)
    page.get_by_role("button", name="Resume").click()
    expect(rows).to_have_count(4)
    expect(rows.first).to_contain_text('{"number":3}')

    rows.first.get_by_role("link").click()
    expect(page.get_by_role("dialog")).to_contain_text('"number": 3')
    page.keyboard.press("Escape")
    page.get_by_label("Event type").select_option("document.created")
    expect(rows).to_have_count(1)
    expect(pill(page, "Live")).to_be_visible()
    visitor.emit("invoice.created", {"number": 4})
    visitor.emit("document.created", {"number": 5})
    expect(rows).to_have_count(2)


def test_the_page_shows_a_lost_connection_and_then_the_missed_events(visit: Visit) -> None:
    visitor = visit()
    page = visitor.open("live")
    expect(pill(page, "Live")).to_be_visible()
    visitor.emit("document.created", {"number": 1})
    rows = page.locator(".live li")
    expect(rows).to_have_count(1)
    visitor.context.set_offline(True)
    expect(page.get_by_role("alert")).to_contain_text("Connection lost. Reconnecting…")
    visitor.emit("document.created", {"number": 2})
    page.get_by_role("link", name="Endpoints").click()
    expect(page.get_by_role("heading", name="Connection lost")).to_be_visible()
    visitor.context.set_offline(False)
    expect(page.get_by_text("Reconnected")).to_be_visible()
    expect(page.locator(".banner")).to_be_hidden()
    expect(page.get_by_role("heading", name="No endpoints yet")).to_be_visible()
    page.get_by_role("link", name="Live", exact=True).click()
    expect(rows).to_have_count(2)


def test_the_page_says_when_the_session_has_ended(visit: Visit) -> None:
    visitor = visit()
    page = visitor.open("endpoints")
    expect(page.get_by_role("heading", name="No endpoints yet")).to_be_visible()
    visitor.context.clear_cookies()
    page.get_by_role("link", name="Events").click()
    expect(page.locator(".banner")).to_contain_text("Your session has ended.")
    page.get_by_role("button", name="Reload").click()
    expect(page.get_by_role("heading", name="Please sign in")).to_be_visible()
