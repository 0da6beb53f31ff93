"""The log, the live view, and a lost connection."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.visitor import IN_AN_HOUR, Visit, pill
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
    expect(rows).to_have_count(50)
    expect(rows.first).to_contain_text("invoice.failed")
    page.get_by_role("button", name="Load more").click()
    expect(rows).to_have_count(61)
    expect(rows.last).to_contain_text('{"number":0}')
    page.get_by_label("Event type").select_option("invoice.failed")
    expect(rows).to_have_count(1)
    page.get_by_label("Time", exact=True).select_option("3600")
    expect(rows).to_have_count(1)
    page.reload()
    expect(rows).to_have_count(1)
    page.get_by_label("Time", exact=True).select_option("custom")
    page.get_by_label("To").fill("2020-01-01T00:00")
    page.get_by_label("To").blur()
    expect(page.get_by_role("heading", name="No matches")).to_be_visible()
    page.get_by_label("To").fill("")
    page.get_by_label("To").blur()
    rows.get_by_role("link").click()

    expect(page.get_by_role("group", name="Payload")).to_contain_text('"reason": "declined"')
    delivery = page.locator(".delivery")
    expect(pill(delivery, "Retrying")).to_be_visible()
    expect(delivery).to_contain_text(IN_AN_HOUR)
    receiver.status = 200
    delivery.get_by_role("button", name="Resend").click()
    expect(pill(delivery, "Delivered")).to_be_visible()
    expect(delivery.locator("tbody tr")).to_have_count(2)
    delivery.get_by_role("link", name="Attempt #2").click()
    expect(page.get_by_role("dialog")).to_contain_text("Manual")


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
