"""What an event's page says of each endpoint's result, and lists that end in the middle of a group."""

from __future__ import annotations

import re
import threading
from datetime import UTC, datetime
from typing import Any

import pytest

from starlette_webhooks.backends.memory import MemoryBackend
from starlette_webhooks.console.parts import duration
from starlette_webhooks.dead_letters import DeadLetter
from starlette_webhooks.settings import WebhooksSettings
from tests.console.desk import SAME_ORIGIN, Desk, Page, at_console, authorize
from tests.console.test_pages import until
from tests.eventually import eventually
from tests.hosts import make_webhooks
from tests.receivers import Received, receiving
from tests.servers import free_port


async def test_an_event_shows_whether_each_endpoint_has_it(desk: Desk) -> None:
    endpoints = desk.webhooks.endpoints("acme")
    await endpoints.create(desk.receiver.url)
    await endpoints.create(f"http://127.0.0.1:{free_port()}/closed")
    event = await desk.webhooks.emitter("acme").send("invoice.paid", {})
    page = await until(desk, f"events/{event.id}", lambda page: "HTTP 200" in page.text and "No response" in page.text)
    assert "Delivered" in page.text
    assert "Retrying next" in page.text
    assert "refused" in page.text


@pytest.mark.parametrize("chosen", [{"retry_schedule": "0"}])
async def test_an_event_that_is_not_tried_again_is_shown_as_failed(desk: Desk, chosen: dict[str, Any]) -> None:
    desk.receiver.status = 503
    await desk.webhooks.endpoints("acme").create(desk.receiver.url)
    event = await desk.webhooks.emitter("acme").send("invoice.paid", {})
    page = await until(desk, f"events/{event.id}", lambda page: "HTTP 503" in page.text)
    assert "Retrying" not in page.text


async def test_the_start_of_a_large_payload_is_shown(stored: WebhooksSettings) -> None:
    webhooks = make_webhooks(stored.model_copy(update={"deliver": False}))
    async with webhooks.lifespan(), at_console(webhooks) as client:
        event = await webhooks.emitter("acme").send("invoice.paid", {"text": "x" * 500_000})
        page = Page(await client.post(f"events/{event.id}/payload", headers=SAME_ORIGIN))
        assert "Only the start is shown." in page.text
        assert len(page.html) < 500_000


async def test_an_attempt_that_runs_is_shown_as_running(stored: WebhooksSettings) -> None:
    began, go_on = threading.Event(), threading.Event()

    def answer(request: Received) -> int:
        began.set()
        go_on.wait(20)
        return 200

    webhooks = make_webhooks(stored)
    with receiving() as receiver:
        receiver.answer = answer
        try:
            async with webhooks.lifespan(), at_console(webhooks) as client:
                await webhooks.endpoints("acme").create(receiver.url)
                event = await webhooks.emitter("acme").send("invoice.paid", {})
                await eventually(began.is_set)
                assert "one is running" in Page(await client.get(f"events/{event.id}")).text
                go_on.set()
        finally:
            go_on.set()


async def test_a_tenant_whose_endpoints_are_disabled_says_so(stored: WebhooksSettings) -> None:
    webhooks = make_webhooks(stored.model_copy(update={"deliver": False}))
    async with webhooks.lifespan(), at_console(webhooks) as client:
        await webhooks.endpoints("acme").create("http://127.0.0.1:9/hook", disabled=True)
        assert "acme 1 disabled" in Page(await client.get("tenants")).text


async def test_a_page_of_endpoints_that_ends_with_a_group_continues_with_the_next_one(
    settings: WebhooksSettings,
) -> None:
    webhooks = make_webhooks(settings, backend=MemoryBackend(settings, deliver=False))
    async with webhooks.lifespan(), at_console(webhooks) as client:
        for number in range(50):
            await webhooks.endpoints(f"tenant-{number % 5}").create(f"http://127.0.0.1:9/ok-{number}")
        await webhooks.endpoints("acme").create("http://127.0.0.1:9/off", disabled=True)
        found: list[str] = []
        address: str | None = "endpoints"
        while address is not None:
            page = Page(await client.get(address))
            found += re.findall(r"127\.0\.0\.1:9/(\S+)", page.text)
            address = page.links.get("Next page")
        assert sorted(found) == sorted(["off", *(f"ok-{number}" for number in range(50))])


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([{"type": "http.request", "body": b"x" * 100_000, "more_body": True}], "The form is too large."),
        (
            [{"type": "http.request", "body": b"id=", "more_body": True}, {"type": "http.disconnect"}],
            "The form did not arrive in time.",
        ),
    ],
    ids=["too large", "incomplete"],
)
async def test_a_form_that_is_too_large_or_incomplete_is_refused(
    settings: WebhooksSettings, messages: list[dict[str, Any]], said: str
) -> None:
    webhooks = make_webhooks(settings, backend=MemoryBackend(settings))
    incoming = iter(messages)
    sent: list[Any] = []

    async def receive() -> Any:
        return next(incoming)

    async def send(message: Any) -> None:
        sent.append(message)

    path = "/dead-letters/redrive"
    headers = [(b"x-operator", b"olga"), (b"sec-fetch-site", b"same-origin"), (b"host", b"host")]
    scope = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "root_path": ""}
    scope |= {"query_string": b"", "headers": headers, "http_version": "1.1", "scheme": "http"}
    async with webhooks.lifespan():
        await webhooks.console(authorize=authorize)(scope, receive, send)
    assert sent[0]["status"] == 400
    assert said.encode() in sent[1]["body"]


async def test_without_a_framework_around_it_a_stranger_gets_a_plain_404(settings: WebhooksSettings) -> None:
    webhooks = make_webhooks(settings, backend=MemoryBackend(settings))
    async with webhooks.lifespan(), at_console(webhooks) as client:
        del client.headers["X-Operator"]
        answer = await client.get("tenants")
        assert (answer.status_code, answer.text) == (404, "Not Found")


def test_durations_are_told_in_the_largest_unit() -> None:
    assert [duration(seconds) for seconds in (5, 200, 7300, 90_000)] == ["5 seconds", "3 minutes", "2 hours", "1 day"]


async def test_a_reader_sees_dead_letters_without_buttons(settings: WebhooksSettings) -> None:
    class Refused(MemoryBackend):
        async def dead_letters(self, *, tenant: str | None = None, limit: int = 100) -> Any:
            return [DeadLetter("dead-1", "acme", None, "too_large", "Too much.", datetime.now(UTC))]

    webhooks = make_webhooks(settings, backend=Refused(settings))
    async with webhooks.lifespan(), at_console(webhooks, "reader") as client:
        page = Page(await client.get("dead-letters"))
        assert "Too much." in page.text
        assert page.buttons() == []
