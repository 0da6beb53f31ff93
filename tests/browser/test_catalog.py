"""The catalog, and the commands that customers copy."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess

import pytest
from playwright.sync_api import expect
from standardwebhooks import Webhook

from tests.browser.host import EXAMPLE
from tests.browser.visitor import Visit, verifies
from tests.receivers import Receiver


def test_the_catalog_explains_an_event_type(visit: Visit) -> None:
    page = visit().open("catalog")
    page.get_by_label("Search events").fill("paid in full")
    expect(page.get_by_role("link", name="Invoice created")).to_be_hidden()
    page.get_by_role("link", name="Invoice paid").click()
    rows = page.locator("table[aria-label='Fields of data'] tbody tr")
    expect(rows).to_have_count(7)
    expect(rows.nth(0)).to_contain_text(re.compile("invoiceId.*required.*string.*The invoice that was paid", re.DOTALL))
    expect(rows.nth(4)).to_contain_text("customer.email")
    expect(rows.nth(6)).to_contain_text("lines[].sku")
    expect(page.get_by_role("group", name="Payload")).to_contain_text('"amountPaid": 9900')
    python = page.get_by_role("group", name="FastAPI code").inner_text()
    compile(python, "snippet", "exec")
    page.get_by_role("tab", name="FastAPI").press("ArrowRight")
    expect(page.get_by_role("group", name="Flask code")).to_contain_text("webhook.verify(")


@pytest.mark.skipif(not (shutil.which("openssl") and shutil.which("curl")), reason="openssl or curl is not installed.")
def test_the_shell_snippet_sends_what_a_receiver_verifies(visit: Visit, receiver: Receiver) -> None:
    visitor = visit()
    identifier = visitor.endpoint(receiver.url)
    secret = visitor.api.get(f"endpoints/{identifier}/secret").json()["key"]
    page = visitor.open("catalog/invoice.paid")
    page.get_by_role("tab", name="curl").click()
    script = page.get_by_role("group", name="curl code").inner_text()
    environment = {**os.environ, "WEBHOOK_SECRET": secret, "RECEIVER_URL": receiver.url}
    subprocess.run(["sh", "-eu", "-c", script], env=environment, check=True, capture_output=True, timeout=20)
    assert verifies(Webhook(secret), receiver.requests[0].body, receiver.requests[0].headers)
    assert json.loads(receiver.requests[0].body)["data"] == EXAMPLE


def test_the_commands_to_read_events_work_as_they_are(visit: Visit) -> None:
    visitor = visit()
    (event,) = visitor.emit("document.created", {})
    page = visitor.open("start")
    command = page.get_by_role("group", name="List command").inner_text()
    environment = {**os.environ, "API_KEY": visitor.tenant}
    done = subprocess.run(["sh", "-eu", "-c", command], env=environment, check=True, capture_output=True, timeout=20)
    assert [one["id"] for one in json.loads(done.stdout)["events"]] == [event]
