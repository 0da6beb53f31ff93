"""Emitting, reading and streaming, on every backend."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial

import anyio

from starlette_webhooks.attempts import AttemptQuery
from starlette_webhooks.backends.base import Backend
from starlette_webhooks.endpoints import EndpointChanges
from starlette_webhooks.events import EventQuery
from starlette_webhooks.exceptions import InvalidRequest
from starlette_webhooks.feed import StreamFilter
from starlette_webhooks.identifiers import first_id, mint
from tests.backends.contract.support import TYPES, Ear, MakeBackend, create, ids, make, running, send
from tests.eventually import eventually
from tests.faults import faults

# Emitting and reading


async def test_a_sent_event_is_read_as_it_was_sent(make_backend: MakeBackend) -> None:
    async with running(make_backend) as backend:
        sent = await send(backend, data={"note": "größer ✓"}, channels=["eu", "vip"], event_id="order-1")
        assert sent.id.startswith("msg_")
        found = await backend.get_event("acme", sent.id)
        assert found is not None
        assert (found.id, found.type, found.data, found.event_id) == (
            sent.id,
            "invoice.paid",
            {"note": "größer ✓"},
            "order-1",
        )
        assert sorted(found.channels) == ["eu", "vip"]
        assert json.loads(found.payload) == json.loads(sent.payload)
        assert abs(found.timestamp - datetime.now(UTC)) < timedelta(minutes=1)


async def test_a_submission_ends_with_the_events_as_stored(make_backend: MakeBackend) -> None:
    async with running(make_backend) as backend:
        submission = backend.submit([make(backend, data={"n": n}) for n in range(3)])
        stored = await submission.wait()
        assert submission.finished
        assert [event.data["n"] for event in stored] == [0, 1, 2]
        assert await submission.wait() == stored


async def test_an_event_id_that_comes_again_gives_the_first_event_of_that_tenant(
    make_backend: MakeBackend,
) -> None:
    async with running(make_backend) as backend:
        first = await send(backend, data={"n": 1}, event_id="order-1")
        again = await send(backend, data={"n": 2}, event_id="order-1")
        other = await send(backend, "globex", data={"n": 3}, event_id="order-1")
        assert (again.id, again.data) == (first.id, {"n": 1})
        assert other.id != first.id
        assert await ids(backend) == [first.id]


async def test_events_are_listed_newest_first_in_pages_by_type_and_by_channel(make_backend: MakeBackend) -> None:
    async with running(make_backend) as backend:
        sent = [
            await send(backend, event_type=name, channels=channels)
            for name, channels in (
                ("invoice.paid", ["eu"]),
                ("invoice.failed", []),
                ("user.created", ["us"]),
                ("invoice.paid", ["us"]),
            )
        ]
        newest_first = sorted((event.id for event in sent), reverse=True)
        assert await ids(backend) == newest_first
        first = await backend.list_events("acme", EventQuery(limit=3))
        assert not first.done
        rest = await backend.list_events("acme", EventQuery(limit=3, cursor=first.next_cursor))
        assert [event.id for event in [*first.items, *rest.items]] == newest_first
        assert (rest.done, rest.next_cursor) == (True, None)
        assert set(await ids(backend, event_types=("invoice.paid", "user.created"))) == {
            sent[0].id,
            sent[2].id,
            sent[3].id,
        }
        assert set(await ids(backend, channel="us")) == {sent[2].id, sent[3].id}
        hour = timedelta(hours=1)
        now = datetime.now(UTC)
        assert await ids(backend, before=now - hour) == []
        assert await ids(backend, after=now - hour) == newest_first


async def test_no_tenant_sees_events_of_another(make_backend: MakeBackend) -> None:
    async with running(make_backend) as backend:
        event = await send(backend)
        endpoint = await create(backend)
        assert await backend.get_event("globex", event.id) is None
        assert await ids(backend, "globex") == []
        assert await backend.get_endpoint("globex", endpoint.id) is None
        assert (await backend.list_endpoints("globex", limit=10, cursor=None)).items == []
        assert await backend.update_endpoint("globex", endpoint.id, EndpointChanges(description="x")) is None
        assert await backend.get_secret("globex", endpoint.id) is None
        assert await backend.rotate_secret("globex", endpoint.id, None) is None
        assert not await backend.delete_endpoint("globex", endpoint.id)
        assert not await backend.resend("globex", event.id, endpoint.id)
        now = datetime.now(UTC)
        assert await backend.recover("globex", endpoint.id, now - timedelta(hours=1), None, missing=True) is None
        assert await backend.endpoint_stats("globex", endpoint.id, now - timedelta(hours=1), now) is None
        assert await backend.test_endpoint("globex", endpoint.id, make(backend, "globex")) is None
        assert (await backend.get_endpoint("acme", endpoint.id)) is not None


async def test_an_object_that_never_existed_is_none(make_backend: MakeBackend) -> None:
    async with running(make_backend) as backend:
        await create(backend)
        event, endpoint = "msg_" + "0" * 27, "ep_" + "0" * 27
        assert await backend.get_event("acme", event) is None
        assert await backend.get_endpoint("acme", endpoint) is None
        assert await backend.get_secret("acme", endpoint) is None
        assert not await backend.delete_endpoint("acme", endpoint)
        assert not await backend.resend("acme", event, endpoint)
        assert await backend.test_endpoint("acme", endpoint, make(backend)) is None


LISTS: dict[str, Callable[[str, Backend], Awaitable[object]]] = {
    "events": lambda cursor, backend: backend.list_events("acme", EventQuery(cursor=cursor)),
    "endpoints": lambda cursor, backend: backend.list_endpoints("acme", limit=10, cursor=cursor),
    "attempts": lambda cursor, backend: backend.list_attempts(
        "acme", AttemptQuery(event_id="msg_" + "0" * 27, cursor=cursor)
    ),
}


async def test_an_invalid_cursor_is_refused_with_one_code_wherever_it_is_given(make_backend: MakeBackend) -> None:
    cursors = ["nonsense", "msg_foo", "", "msg_" + "z" * 27, "ep_" + "é" * 27]
    calls = {f"{name} {cursor}": partial(list_, cursor) for name, list_ in LISTS.items() for cursor in cursors}
    async with running(make_backend) as backend:
        found = await faults(calls, backend)
    wrong = {name: fault for name, fault in found.items() if not isinstance(fault, InvalidRequest)}
    assert wrong == {}
    refused = {name: fault for name, fault in found.items() if isinstance(fault, InvalidRequest)}
    assert {name: fault.code for name, fault in refused.items()} == dict.fromkeys(calls, "invalid_cursor")
    assert {name: str(fault) for name, fault in refused.items() if "nextCursor" not in str(fault)} == {}


# Streaming


async def test_a_listener_gets_each_event_of_its_tenants_in_order(make_backend: MakeBackend) -> None:
    backend, ear = make_backend(), Ear()
    backend.listen(ear)
    async with backend.lifespan(TYPES):
        backend.watch("acme")
        replay = await backend.replay("acme", StreamFilter(), None)
        assert [page async for page in replay.pages()] == []
        sent = [await send(backend, data={"n": n}) for n in range(5)]
        await send(backend, "initech")

        async def told() -> list[str]:
            return [e.event.id for e in ear.entries if not replay.covers(e)] if len(ear.entries) >= 5 else []

        assert await eventually(told) == [event.id for event in sent]
        assert [entry.position for entry in ear.entries] == sorted(entry.position for entry in ear.entries)
        backend.unwatch("acme")


async def test_a_stream_resumes_behind_the_event_it_names(make_backend: MakeBackend) -> None:
    async with running(make_backend) as backend:
        sent = []
        for name in ("invoice.paid", "user.created", "invoice.paid"):
            sent.append(await send(backend, event_type=name))
            # Svix orders events by their ids, which are in random order within 4 ms.
            await anyio.sleep(0.01)
        backend.watch("acme")
        try:
            replay = await backend.replay("acme", StreamFilter(), sent[0].id)
            assert replay.gap is None
            assert [event.id async for page in replay.pages() for event in page] == [sent[1].id, sent[2].id]
            only = StreamFilter(frozenset({"invoice.paid"}))
            filtered = await backend.replay("acme", only, sent[0].id)
            assert [event.id async for page in filtered.pages() for event in page] == [sent[2].id]
        finally:
            backend.unwatch("acme")


async def test_a_stream_that_cannot_resume_gets_a_gap(make_backend: MakeBackend) -> None:
    async with running(make_backend) as backend:
        sent = await send(backend)
        backend.watch("acme")
        try:
            replay = await backend.replay("acme", StreamFilter(), "msg_" + "0" * 27)
            assert replay.gap is not None
            assert replay.gap.requested == "msg_" + "0" * 27
            assert [event.id async for page in replay.pages() for event in page] == [sent.id]
        finally:
            backend.unwatch("acme")


async def test_a_stream_that_starts_before_the_first_event_or_at_a_time_gets_no_gap(make_backend: MakeBackend) -> None:
    async with running(make_backend) as backend:
        backend.watch("acme")
        try:
            start = await backend.position("acme")
            sent = await send(backend)
            time = first_id("msg_", int((sent.timestamp - timedelta(minutes=5)).timestamp() * 1000))
            for after in (start, time):
                replay = await backend.replay("acme", StreamFilter(), after)
                assert replay.gap is None
                assert [event.id async for page in replay.pages() for event in page] == [sent.id]
            assert await backend.position("acme") == sent.id
        finally:
            backend.unwatch("acme")


async def test_a_stream_whose_last_event_is_gone_gets_a_gap_and_what_is_newer(make_backend: MakeBackend) -> None:
    async with running(make_backend) as backend:
        old = await send(backend)
        # Svix also replays slightly older events, because they may have become visible late.
        gone = mint("msg_", int((old.timestamp + timedelta(minutes=5)).timestamp() * 1000))
        assert await backend.get_event("acme", gone) is None
        backend.watch("acme")
        try:
            replay = await backend.replay("acme", StreamFilter(), gone)
            assert replay.gap is not None
            assert (replay.gap.requested, replay.gap.oldest) == (gone, old.id)
            assert [event.id async for page in replay.pages() for event in page] == []
            older = mint("msg_", int((old.timestamp - timedelta(minutes=5)).timestamp() * 1000))
            replay = await backend.replay("acme", StreamFilter(), older)
            assert replay.gap is not None
            assert [event.id async for page in replay.pages() for event in page] == [old.id]
        finally:
            backend.unwatch("acme")


async def test_a_stream_that_resumes_from_the_future_gets_a_gap_and_then_what_is_new(
    make_backend: MakeBackend,
) -> None:
    backend, ear = make_backend(), Ear()
    backend.listen(ear)
    async with backend.lifespan(TYPES):
        await send(backend)
        backend.watch("acme")
        try:
            # A database that was restored from a backup has fewer events than its readers have seen.
            future = mint("msg_", int((datetime.now(UTC) + timedelta(days=1)).timestamp() * 1000))
            replay = await backend.replay("acme", StreamFilter(), future)
            assert replay.gap is not None
            assert replay.gap.requested == future
            assert [event.id async for page in replay.pages() for event in page] == []
            new = await send(backend)

            async def published() -> list[str]:
                return [entry.event.id for entry in ear.entries if not replay.covers(entry)]

            assert await eventually(published) == [new.id]
        finally:
            backend.unwatch("acme")
