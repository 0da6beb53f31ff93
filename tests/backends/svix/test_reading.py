"""Reading events and attempts from Svix, despite the peculiarities of its lists."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import anyio
import pytest

from starlette_webhooks.attempts import AttemptQuery
from starlette_webhooks.backends.svix.applications import application_uid
from starlette_webhooks.endpoints import EndpointChanges
from starlette_webhooks.events import EventQuery
from starlette_webhooks.exceptions import InvalidRequest
from starlette_webhooks.settings import WebhooksSettings
from tests.backends.svix.fake_server import FakeSvix
from tests.backends.svix.fake_store import Message, ksuid
from tests.backends.svix.support import canonical, make, numbers, running
from tests.eventually import eventually


@pytest.fixture
def svix_settings(svix_settings: WebhooksSettings) -> WebhooksSettings:
    """Keep the outbox in memory, because these tests do not depend on the disk."""
    return svix_settings.model_copy(update={"database": ":memory:"})


async def test_events_are_listed_in_pages_newest_first(svix_settings: WebhooksSettings, tenant: str) -> None:
    async with running(svix_settings) as backend:
        for number in range(7):
            await backend.send([make(tenant, number)])
        seen: list[int] = []
        cursor: str | None = None
        while True:
            page = await backend.list_events(tenant, EventQuery(limit=3, cursor=cursor))
            seen += numbers(page.items)
            assert page.done == (page.next_cursor is None)
            cursor = page.next_cursor
            if page.done:
                break
        assert sorted(seen) == list(range(7))
        ids = [event.id for event in (await backend.list_events(tenant, EventQuery())).items]
        assert ids == sorted(ids, reverse=True)


async def test_a_long_page_is_read_in_parts_and_ends_early_if_its_events_are_large(
    fake: FakeSvix, svix_settings: WebhooksSettings, tenant: str
) -> None:
    async with running(svix_settings) as backend:
        await backend.send([make(tenant)])
        application = fake.application(application_uid(tenant))
        now = time.time()
        for number in range(60):
            application.add(Message(ksuid("msg_", now - number), "invoice.paid", {"type": "invoice.paid", "data": {}}))
        page = await backend.list_events(tenant, EventQuery(limit=250))
        assert (len(page.items), page.done) == (61, True)
        assert len({event.id for event in page.items}) == 61
        page = await backend.list_events(tenant, EventQuery(limit=55))
        assert (len(page.items), page.done, page.next_cursor) == (55, False, page.items[-1].id)
        for message in application.messages:
            message.payload["data"] = {"filling": "x" * 200_000}
        page = await backend.list_events(tenant, EventQuery(limit=250))
        assert (len(page.items), page.done, page.next_cursor) == (50, False, page.items[-1].id)


async def test_events_are_filtered_by_type_channel_and_time(svix_settings: WebhooksSettings, tenant: str) -> None:
    async with running(svix_settings) as backend:
        await backend.send([make(tenant, 1), make(tenant, 2, "user.created"), make(tenant, 3, channels=["eu"])])

        async def found(**query: object) -> list[int]:
            return sorted(numbers((await backend.list_events(tenant, EventQuery(**query))).items))  # type: ignore[arg-type]

        assert await found(event_types=("user.created",)) == [2]
        assert await found(event_types=("user.created", "invoice.paid")) == [1, 2, 3]
        assert await found(channel="eu") == [3]
        now = datetime.now(UTC)
        assert await found(before=now - timedelta(hours=1)) == []
        assert await found(after=now - timedelta(hours=1)) == [1, 2, 3]
        assert await found(after=now + timedelta(hours=1)) == []


async def test_all_pages_after_a_time_are_read_and_not_only_the_oldest(
    fake: FakeSvix, svix_settings: WebhooksSettings
) -> None:
    async with running(svix_settings) as backend:
        await backend.send([make("a", 0)])
        for number in range(1, 120):
            fake.store(
                fake.application("a"), "invoice.paid", {"data": {"number": number}}, at=time.time() - 120 + number
            )
        after = datetime.now(UTC) - timedelta(minutes=10)
        seen: list[int] = []
        query: EventQuery | None = EventQuery(after=after)
        while query is not None:
            page = await backend.list_events("a", query)
            seen += numbers(page.items)
            query = None if page.done else EventQuery(after=after, cursor=page.next_cursor)
        assert sorted(seen) == list(range(120))


async def test_events_of_a_tenant_quiet_for_a_year_are_listed(fake: FakeSvix, svix_settings: WebhooksSettings) -> None:
    async with running(svix_settings) as backend:
        fake.store(fake.new_application("a"), "invoice.paid", {"data": {"number": 1}}, at=time.time() - 360 * 86_400)
        assert numbers((await backend.list_events("a", EventQuery())).items) == [1]
        assert numbers((await backend.list_events("a", EventQuery(event_types=("invoice.paid",)))).items) == [1]


@pytest.mark.parametrize(
    "cursor", ["msg_foo", "nonsense", "msg_" + "z" * 27, "-" + ksuid("msg_", 1.8e9, 0), "", "msg_" + "é" * 27]
)
async def test_a_cursor_that_svix_would_crash_on_is_refused_here(
    svix_settings: WebhooksSettings, tenant: str, cursor: str
) -> None:
    async with running(svix_settings) as backend:
        with pytest.raises(InvalidRequest, match="nextCursor"):
            await backend.list_events(tenant, EventQuery(cursor=cursor))
        with pytest.raises(InvalidRequest):
            await backend.list_endpoints(tenant, limit=10, cursor="ep_foo")


async def test_a_payload_that_is_not_an_object_affects_no_other_event(
    fake: FakeSvix, svix_settings: WebhooksSettings
) -> None:
    async with running(svix_settings) as backend:
        await backend.send([make("a", 1)])
        fake.store(fake.application("a"), "invoice.paid", ["no", "object"])
        await backend.send([make("a", 2)])
        page = await backend.list_events("a", EventQuery())
        assert sorted(event.data["number"] for event in page.items if event.payload != b"{}") == [1, 2]
        assert sum(event.payload == b"{}" for event in page.items) == 1


async def test_text_and_numbers_survive_svix(svix_settings: WebhooksSettings, tenant: str) -> None:
    async with running(svix_settings) as backend:
        event = make(tenant, 1)
        odd = '{"type":"invoice.paid","timestamp":"x","data":{"z":1.5,"a":"é\\u2028","n":12345678901234567890,"e":[]}}'
        odd = odd.replace("\\u2028", "\u2028")
        event = type(event)("", tenant, event.type, odd.encode(), event.timestamp, event.event_id)
        (sent,) = await backend.send([event])
        found = await backend.get_event(tenant, sent.id)
        assert found is not None
        assert canonical(found) == canonical(sent)
        assert sent.payload == odd.encode()


async def test_an_event_of_another_tenant_does_not_exist(svix_settings: WebhooksSettings, tenant: str) -> None:
    async with running(svix_settings) as backend:
        (event,) = await backend.send([make(tenant, 1, event_id="order-1")])
        other = f"{tenant}-2"
        assert await backend.get_event(other, event.id) is None
        await backend.send([make(other, 2)])
        assert await backend.get_event(other, event.id) is None
        assert await backend.get_event(tenant, "order-1") is None
        assert await backend.get_event(tenant, "..") is None
        assert (await backend.list_attempts(other, AttemptQuery(event_id=event.id))).items == []


async def test_a_tenant_unknown_to_svix_has_nothing(svix_settings: WebhooksSettings, tenant: str) -> None:
    async with running(svix_settings) as backend:
        assert (await backend.list_events(tenant, EventQuery())).items == []
        assert (await backend.list_endpoints(tenant, limit=10, cursor=None)).items == []
        assert (await backend.list_attempts(tenant, AttemptQuery(event_id=ksuid("msg_", 1.8e9)))).done


async def test_attempts_are_listed_counted_and_filtered(fake: FakeSvix, svix_settings: WebhooksSettings) -> None:
    async with running(svix_settings) as backend:
        good = await backend.create_endpoint("a", EndpointChanges(url="https://example.com/good"))
        bad = await backend.create_endpoint("a", EndpointChanges(url="https://example.com/fail"))
        (first,) = await backend.send([make("a", 1)])
        (second,) = await backend.send([make("a", 2, "user.created")])
        await eventually(lambda: len(fake.application("a").attempts) == 4)
        await anyio.sleep(0.01)
        assert await backend.resend("a", first.id, bad.id)

        async def found(**query: object) -> list[tuple[str, str, str, int]]:
            page = await backend.list_attempts("a", AttemptQuery(**query))  # type: ignore[arg-type]
            return [(a.event_id, a.endpoint_id, a.status, a.number) for a in page.items]

        assert await found(event_id=first.id, endpoint_id=bad.id) == [
            (first.id, bad.id, "fail", 2),
            (first.id, bad.id, "fail", 1),
        ]
        assert await found(event_id=first.id, status="success") == [(first.id, good.id, "success", 1)]
        assert len(await found(endpoint_id=bad.id, status="fail")) == 3
        assert await found(endpoint_id=bad.id, status="success") == []
        assert await found(endpoint_id=good.id, status_code_class=5) == []
        assert len(await found(endpoint_id=good.id, event_types=("user.created",))) == 1
        assert len(await found(endpoint_id=bad.id, limit=2)) == 2
        page = await backend.list_attempts("a", AttemptQuery(endpoint_id=bad.id, limit=2))
        rest = await backend.list_attempts("a", AttemptQuery(endpoint_id=bad.id, limit=2, cursor=page.next_cursor))
        assert (len(rest.items), rest.done) == (1, True)
        attempt = page.items[0]
        assert (attempt.event_type, attempt.status_code, attempt.trigger) == ("invoice.paid", 500, "manual")
        assert attempt.response == "oops"
        assert await found(event_id=second.id, endpoint_id="nonsense") == []


async def test_an_attempt_without_an_answer_says_why(fake: FakeSvix, svix_settings: WebhooksSettings) -> None:
    blocked = "requests to this IP range are blocked (see the server configuration)"
    async with running(svix_settings) as backend:
        await backend.create_endpoint("a", EndpointChanges(url="https://example.com/fail"))
        (event,) = await backend.send([make("a", 1)])
        await eventually(lambda: len(fake.application("a").attempts) == 1)
        fake.application("a").attempts[0].update(responseStatusCode=0, response=blocked)
        (attempt,) = (await backend.list_attempts("a", AttemptQuery(event_id=event.id))).items
        assert (attempt.status_code, attempt.response, attempt.error) == (0, "", blocked)
