"""Endpoints in the portal: the steps of a new customer, and every change."""

from __future__ import annotations

import json
import re

from playwright.sync_api import expect
from standardwebhooks import Webhook

from tests.browser.host import EXAMPLE
from tests.browser.visitor import IN_AN_HOUR, Visit, pill, verifies
from tests.eventually import wait_for
from tests.receivers import Receiver


def test_a_new_customer_goes_from_nothing_to_recovered_deliveries(visit: Visit, receiver: Receiver) -> None:
    visitor = visit()
    page = visitor.open()

    # At first, the page explains how to begin.
    expect(page).to_have_title("Getting started · Webhooks")
    expect(page.locator(".step-body code").first).to_be_hidden()
    page.get_by_role("link", name="Endpoints").click()
    expect(page.get_by_role("heading", name="No endpoints yet")).to_be_visible()
    page.locator(".blank").get_by_role("link", name="Add endpoint").click()

    # Errors are shown before anything is sent.
    page.get_by_label("URL").fill("ftp://example.com")
    page.get_by_role("button", name="Add endpoint").click()
    expect(page.get_by_role("alert")).to_contain_text("Enter the full URL")
    page.get_by_label("URL").fill(receiver.url)
    page.get_by_label("Description").fill("Production")
    page.get_by_label("Selected events").check()
    page.get_by_role("button", name="Add endpoint").click()
    expect(page.get_by_role("alert")).to_contain_text("Select at least one event type")
    page.get_by_label("Search events").fill("paid")
    expect(page.get_by_label("Document created")).to_be_hidden()
    page.get_by_label("Invoice paid").check()
    page.get_by_label("Search events").fill("")
    page.get_by_label("Documents 2").check()
    expect(page.get_by_role("status").filter(has_text="3 event types selected")).to_be_visible()
    page.get_by_label("Rate limit").fill("100")
    page.get_by_role("button", name="Add header").click()
    page.get_by_label("Header name").fill("x-api-key")
    page.get_by_label("Header value").fill("sesame")
    page.get_by_role("button", name="Add endpoint").click()

    # The endpoint, and its secret.
    expect(page.locator(".notice.good")).to_contain_text("Endpoint added.")
    expect(page.get_by_role("heading", level=1)).to_have_text(receiver.url)
    made = visitor.api.get("endpoints").json()["endpoints"][0]
    assert (made["description"], made["rateLimit"], made["headers"]) == ("Production", 100, ["x-api-key"])
    assert sorted(made["eventTypes"]) == ["document.created", "document.shared", "invoice.paid"]
    secret = page.locator(".secret")
    expect(secret).not_to_contain_text(re.compile("[A-Za-z0-9]{16}"))
    page.get_by_role("button", name="Reveal secret").click()
    expect(secret).to_have_text(re.compile("whsec_[A-Za-z0-9+/=]{32,}"))
    verifier = Webhook(secret.inner_text())
    receiver.answer = lambda got: 204 if verifies(verifier, got.body, got.headers) else 400

    # The receiver verifies a test event, and the page shows its result.
    page.get_by_role("button", name="Send test", exact=True).click()
    page.get_by_label("Event type", exact=True).last.select_option("invoice.paid")
    page.get_by_role("button", name="Send test event").click()
    result = page.locator(".test-result")
    expect(result).to_contain_text("Delivered. Your endpoint accepted the event.")
    expect(pill(result, "204")).to_be_visible()
    assert json.loads(receiver.requests[-1].body)["data"] == EXAMPLE
    assert receiver.requests[-1].headers["x-api-key"] == "sesame"
    page.keyboard.press("Escape")
    rows = page.locator("table[aria-label=Deliveries] tbody tr")
    expect(rows).to_have_count(1)

    # The receiver fails. The page shows the failure, its response, and when the next attempt is.
    receiver.answer = lambda got: 503
    visitor.emit("invoice.paid", {"invoiceId": "inv_1", "amountPaid": 1}, {"invoiceId": "inv_2", "amountPaid": 2})
    wait_for(lambda: len(receiver.requests) == 3)
    page.reload()
    expect(rows).to_have_count(3)
    page.get_by_label("Result").select_option("fail")
    expect(rows).to_have_count(2)
    assert "status=fail" in page.url
    rows.first.get_by_role("link").click()
    sheet = page.get_by_role("dialog")
    expect(sheet).to_contain_text("HTTP 503")
    expect(sheet).to_contain_text(IN_AN_HOUR)
    expect(sheet).to_contain_text('"invoiceId": "inv_2"')
    expect(sheet).to_contain_text("x-api-key: ••••••")

    # The receiver works again. One event is resent, the others are recovered.
    receiver.answer = lambda got: 204 if verifies(verifier, got.body, got.headers) else 400
    sheet.get_by_role("button", name="Resend").click()
    # The answer is shown, with the headers as they went.
    expect(sheet).to_contain_text("HTTP 204")
    expect(sheet).to_contain_text("Attempt 2")
    sent = page.get_by_role("group", name="Request headers")
    expect(sent).to_contain_text(f"webhook-signature: {receiver.requests[-1].headers['webhook-signature']}")
    expect(page.get_by_role("group", name="Response headers")).to_contain_text("HTTP 204")
    assert len(receiver.requests) == 4
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Recover").click()
    page.get_by_label("Period").last.select_option("custom")
    page.get_by_label("Until").fill("2020-01-01T00:00")
    page.get_by_role("button", name="Count them").click()
    expect(page.get_by_role("dialog")).to_contain_text("The start must be before the end.")
    page.get_by_label("Until").fill("")
    page.get_by_role("button", name="Count them").click()
    expect(page.get_by_role("dialog")).to_contain_text("1 failed delivery since")
    page.get_by_role("button", name="Back").click()
    page.get_by_label("Also events that were never sent here").check()
    page.get_by_role("button", name="Count them").click()
    expect(page.get_by_role("dialog")).to_contain_text("1 failed delivery and 0 events that were never sent here since")
    page.get_by_role("button", name="Back").click()
    page.get_by_label("Also events that were never sent here").uncheck()
    page.get_by_role("button", name="Count them").click()
    page.get_by_role("button", name="Recover them").click()
    expect(page.get_by_role("dialog")).to_contain_text("All deliveries succeeded.")
    expect(page.get_by_role("dialog")).to_contain_text("1 of 1 delivery sent again: 1 succeeded, 0 failed.")
    page.keyboard.press("Escape")
    page.get_by_label("Result").select_option("success")
    expect(rows).to_have_count(3)
    expect(page.locator(".tile", has_text="Failed")).to_contain_text("2")


def test_an_endpoint_is_edited_disabled_enabled_and_deleted(visit: Visit, receiver: Receiver) -> None:
    visitor = visit()
    identifier = visitor.endpoint(receiver.url, eventTypes=["invoice.paid"], headers={"x-secret": "kept"})
    page = visitor.open(f"endpoints/{identifier}/edit")
    expect(page.get_by_text("x-secret: ••••••")).to_be_visible()
    page.get_by_label("Description").fill("Changed")
    page.get_by_label("All events").check()
    page.get_by_label("Channels").fill("emea, apac,emea")
    page.get_by_role("button", name="Save changes").click()
    expect(page.get_by_text("Changes saved")).to_be_visible()
    changed = visitor.api.get(f"endpoints/{identifier}").json()
    assert (changed["description"], changed["eventTypes"], changed["channels"]) == ("Changed", [], ["emea", "apac"])
    assert changed["headers"] == ["x-secret"]

    page.get_by_role("button", name="Disable").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    assert not visitor.api.get(f"endpoints/{identifier}").json()["disabled"]
    page.get_by_role("button", name="Disable").click()
    page.get_by_role("dialog").get_by_role("button", name="Disable").click()
    expect(pill(page, "Disabled")).to_be_visible()
    page.get_by_role("button", name="Enable").click()
    expect(pill(page, "Enabled")).to_be_visible()

    page.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete endpoint").click()
    expect(page.get_by_role("heading", name="No endpoints yet")).to_be_visible()
    assert visitor.api.get("endpoints").json()["endpoints"] == []


def test_a_rotated_secret_is_shown_and_the_old_one_stays_valid(visit: Visit, receiver: Receiver) -> None:
    visitor = visit()
    identifier = visitor.endpoint(receiver.url)
    old = visitor.api.get(f"endpoints/{identifier}/secret").json()["key"]
    page = visitor.open(f"endpoints/{identifier}")
    page.get_by_role("button", name="Rotate").click()
    expect(page.get_by_role("dialog")).to_contain_text("deliveries carry two signatures")
    page.get_by_role("button", name="Rotate secret").click()
    secret = page.locator(".secret")
    expect(secret).to_have_text(re.compile("whsec_[A-Za-z0-9+/=]{32,}"))
    assert secret.inner_text() != old
    expect(page.locator(".notice.info")).to_contain_text("The old one stays valid until")
    visitor.emit("document.created", {})
    wait_for(lambda: receiver.requests)
    for key in (old, secret.inner_text()):
        assert verifies(Webhook(key), receiver.requests[0].body, receiver.requests[0].headers)


def test_headers_are_replaced_only_when_the_customer_says_so(visit: Visit, receiver: Receiver) -> None:
    visitor = visit()
    identifier = visitor.endpoint(receiver.url, headers={"x-one": "1"})
    page = visitor.open(f"endpoints/{identifier}/edit")
    page.get_by_role("button", name="Replace headers").click()
    page.get_by_role("button", name="Save changes").click()
    expect(page.get_by_role("alert")).to_contain_text("The header x-one needs a valid name and a value.")
    page.get_by_label("Header name").fill("x-two")
    page.get_by_label("Header value").fill("2")
    page.get_by_role("button", name="Save changes").click()
    expect(page.get_by_text("Changes saved")).to_be_visible()
    assert visitor.api.get(f"endpoints/{identifier}").json()["headers"] == ["x-two"]


def test_the_form_says_that_headers_are_removed_before_an_endpoint_moves_to_another_server(visit: Visit) -> None:
    visitor = visit()
    identifier = visitor.endpoint("http://127.0.0.1:9/hook", headers={"x-secret": "kept"})
    page = visitor.open(f"endpoints/{identifier}/edit")
    hint = page.get_by_text("Saving removes these headers")
    page.get_by_label("URL").fill("http://127.0.0.1:9/other")
    expect(hint).to_be_hidden()
    page.get_by_label("URL").fill("http://127.0.0.1:10/hook")
    expect(hint).to_be_visible()
    page.get_by_role("button", name="Save changes").click()
    expect(page.get_by_text("Changes saved")).to_be_visible()
    assert visitor.api.get(f"endpoints/{identifier}").json()["headers"] == []


def test_errors_of_the_server_are_shown_as_they_are(visit: Visit) -> None:
    page = visit().open("endpoints/new")
    page.get_by_label("URL").fill("http://169.254.169.254/latest/meta-data")
    page.get_by_role("button", name="Add endpoint").click()
    expect(page.get_by_role("alert")).to_contain_text(re.compile("address|URL|network", re.IGNORECASE))
    expect(page.get_by_label("URL")).to_have_value("http://169.254.169.254/latest/meta-data")
