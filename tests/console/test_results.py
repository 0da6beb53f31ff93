"""What an event's page says of each endpoint's result, and lists that end in the middle of a group."""

from __future__ import annotations

from typing import Any

import pytest

from tests.console.desk import Desk
from tests.console.test_pages import until
from tests.servers import free_port


async def test_an_event_shows_whether_each_endpoint_has_it(desk: Desk) -> None:
    endpoints = desk.webhooks.endpoints("acme")
    await endpoints.create(desk.receiver.url)
    await endpoints.create(f"http://127.0.0.1:{free_port()}/closed")
    event = await desk.webhooks.emitter("acme").send("invoice.paid", {})
    page = await until(desk, f"events/{event.id}", lambda page: {"HTTP", "No"} <= set(page.text.split()))
    assert "Delivered Attempt Result Duration Time #1 HTTP 200" in page.text
    assert "Retrying next" in page.text
    assert "No response" in page.text
    assert "refused" in page.text


@pytest.mark.parametrize("chosen", [{"retry_schedule": "0"}])
async def test_an_event_that_is_not_tried_again_is_shown_as_failed(desk: Desk, chosen: dict[str, Any]) -> None:
    desk.receiver.status = 503
    await desk.webhooks.endpoints("acme").create(desk.receiver.url)
    event = await desk.webhooks.emitter("acme").send("invoice.paid", {})
    page = await until(desk, f"events/{event.id}", lambda page: "HTTP 503" in page.text)
    assert "Retrying" not in page.text
