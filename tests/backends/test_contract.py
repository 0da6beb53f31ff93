"""What every engine does, by the contract of `Backend`: one suite, run with each of them.

The engine of Svix runs against the fake server of its own tests.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import anyio
import pytest

from starlette_webhooks import EventType
from starlette_webhooks.backends.base import Backend
from starlette_webhooks.backends.memory import MemoryBackend
from starlette_webhooks.backends.sqlite import SQLiteBackend
from starlette_webhooks.backends.svix import SvixBackend
from starlette_webhooks.endpoints import Endpoint, EndpointChanges
from starlette_webhooks.event_types import EventTypes
from starlette_webhooks.events import Event, EventQuery
from starlette_webhooks.exceptions import Conflict, NotRunning
from starlette_webhooks.feed import Entry, StreamFilter
from starlette_webhooks.payloads import new_event
from tests.backends.svix.fake_server import TOKEN, FakeSvix
from tests.eventually import eventually
from tests.settings import make_settings

T = TypeVar("T")
BackendFactory = Callable[[], Backend]

TYPES = EventTypes([EventType("invoice.paid"), EventType("invoice.failed"), EventType("user.created")])
# An address, as a name would be looked up.
URL = "https://93.184.215.14/hooks"
KEY = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"
# The SDK of Svix knows asyncio alone.
ENGINES = [
    (name, loop)
    for name in ("memory", "sqlite", "svix")
    for loop in ("asyncio", "trio")
    if (name, loop) != ("svix", "trio")
]


@pytest.fixture(params=ENGINES, ids=lambda param: "-".join(param))
def engine(request: pytest.FixtureRequest) -> tuple[str, str]:
    """The name of the engine, and the event loop."""
    found: tuple[str, str] = request.param
    return found


@pytest.fixture
def anyio_backend(engine: tuple[str, str]) -> str:
    """The event loop."""
    return engine[1]


@pytest.fixture(scope="module")
def fake_svix() -> Iterator[FakeSvix]:
    """A fake server of Svix."""
    with FakeSvix().running() as fake:
        yield fake


@pytest.fixture
def backend_factory(engine: tuple[str, str], tmp_path: Path, request: pytest.FixtureRequest) -> BackendFactory:
    """Makes the engine, each time over the same store where it has one."""
    settings = make_settings(tmp_path, endpoints_per_tenant=4)
    if engine[0] == "memory":
        return lambda: MemoryBackend(settings)
    if engine[0] == "sqlite":
        return lambda: SQLiteBackend(settings)
    fake: FakeSvix = request.getfixturevalue("fake_svix")
    fake.reset()
    settings = make_settings(tmp_path, endpoints_per_tenant=4, svix_api_key=TOKEN, svix_server_url=fake.url)
    return lambda: SvixBackend(settings, poll=(0.02, 0.05), relay_poll=0.02)


@asynccontextmanager
async def running(factory: BackendFactory) -> AsyncIterator[Backend]:
    backend = factory()
    backend.listen(Ear())
    async with backend.lifespan(TYPES):
        yield backend


class Ear:
    """A listener that remembers what it is told of two tenants."""

    def __init__(self) -> None:
        self.tenants = {"acme", "globex"}
        self.entries: list[Entry] = []

    def publish(self, entries: Sequence[Entry]) -> None:
        self.entries += entries


def make(backend: Backend, tenant: str = "acme", event_type: str = "invoice.paid", **options: Any) -> Event:
    data = options.pop("data", {})
    return new_event(event_type, data, tenant=tenant, mint_id=backend.mints_ids, **options)


async def send(backend: Backend, tenant: str = "acme", event_type: str = "invoice.paid", **options: Any) -> Event:
    (event,) = await backend.send([make(backend, tenant, event_type, **options)])
    return event


async def ids(backend: Backend, tenant: str = "acme", **query: Any) -> list[str]:
    page = await backend.list_events(tenant, EventQuery(**query))
    return [event.id for event in page.items]


async def create(backend: Backend, tenant: str = "acme", **changes: Any) -> Endpoint:
    return await backend.create_endpoint(tenant, EndpointChanges(**{"url": URL, **changes}))


# Emitting and reading


async def test_a_sent_event_is_read_as_it_was_sent(backend_factory: BackendFactory) -> None:
    async with running(backend_factory) as backend:
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


async def test_a_submission_ends_with_the_events_as_stored(backend_factory: BackendFactory) -> None:
    async with running(backend_factory) as backend:
        submission = backend.submit([make(backend, data={"n": n}) for n in range(3)])
        stored = await submission.wait()
        assert submission.finished
        assert [event.data["n"] for event in stored] == [0, 1, 2]
        assert await submission.wait() == stored


async def test_an_event_id_that_comes_again_gives_the_first_event_of_that_tenant(
    backend_factory: BackendFactory,
) -> None:
    async with running(backend_factory) as backend:
        first = await send(backend, data={"n": 1}, event_id="order-1")
        again = await send(backend, data={"n": 2}, event_id="order-1")
        other = await send(backend, "globex", data={"n": 3}, event_id="order-1")
        assert (again.id, again.data) == (first.id, {"n": 1})
        assert other.id != first.id
        assert await ids(backend) == [first.id]


async def test_events_are_listed_newest_first_in_pages_by_type_and_by_channel(backend_factory: BackendFactory) -> None:
    async with running(backend_factory) as backend:
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


async def test_no_tenant_sees_what_is_anothers(backend_factory: BackendFactory) -> None:
    async with running(backend_factory) as backend:
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


async def test_an_object_that_was_never_there_is_none(backend_factory: BackendFactory) -> None:
    async with running(backend_factory) as backend:
        await create(backend)
        event, endpoint = "msg_" + "0" * 27, "ep_" + "0" * 27
        assert await backend.get_event("acme", event) is None
        assert await backend.get_endpoint("acme", endpoint) is None
        assert await backend.get_secret("acme", endpoint) is None
        assert not await backend.delete_endpoint("acme", endpoint)
        assert not await backend.resend("acme", event, endpoint)
        assert await backend.test_endpoint("acme", endpoint, make(backend)) is None


async def test_outside_its_lifespan_it_takes_nothing(backend_factory: BackendFactory) -> None:
    backend = backend_factory()
    event = make(backend)
    with pytest.raises(NotRunning):
        backend.submit([event])
    assert backend.health()["status"] == "stopped"
    async with backend.lifespan(TYPES):
        assert backend.health()["status"] == "ok"
    with pytest.raises(NotRunning):
        backend.submit([event])


# Streaming


async def test_a_listener_is_told_of_each_event_of_its_tenants_in_order(backend_factory: BackendFactory) -> None:
    backend, ear = backend_factory(), Ear()
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


async def test_a_stream_resumes_behind_the_event_it_names(backend_factory: BackendFactory) -> None:
    async with running(backend_factory) as backend:
        sent = []
        for name in ("invoice.paid", "user.created", "invoice.paid"):
            sent.append(await send(backend, event_type=name))
            # Svix has its events in the order of their ids, which is by chance within 4 ms.
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


async def test_a_stream_that_cannot_resume_is_told_so(backend_factory: BackendFactory) -> None:
    async with running(backend_factory) as backend:
        sent = await send(backend)
        backend.watch("acme")
        try:
            replay = await backend.replay("acme", StreamFilter(), "msg_" + "0" * 27)
            assert replay.gap is not None
            assert replay.gap.requested == "msg_" + "0" * 27
            assert [event.id async for page in replay.pages() for event in page] == [sent.id]
        finally:
            backend.unwatch("acme")


# Endpoints


async def test_an_endpoint_is_created_changed_and_deleted(backend_factory: BackendFactory) -> None:
    async with running(backend_factory) as backend:
        made = await create(
            backend,
            description="mine",
            event_types=("invoice.paid",),
            channels=("eu",),
            rate_limit=7,
            metadata={"team": "billing"},
            headers={"X-Team": "billing"},
            secret=KEY,
        )
        found = await backend.get_endpoint("acme", made.id)
        assert found is not None
        assert (found.url, found.description, found.event_types, found.channels) == (
            URL,
            "mine",
            ("invoice.paid",),
            ("eu",),
        )
        assert (found.rate_limit, found.metadata, list(found.headers)) == (7, {"team": "billing"}, ["X-Team"])
        assert (found.tenant, found.disabled) == ("acme", False)
        changes = EndpointChanges(event_types=(), channels=(), rate_limit=None, disabled=True, metadata={})
        changed = await backend.update_endpoint("acme", made.id, changes)
        assert changed is not None
        assert (changed.event_types, changed.channels, changed.rate_limit, changed.metadata) == ((), (), None, {})
        assert (changed.disabled, changed.description) == (True, "mine")
        assert await backend.delete_endpoint("acme", made.id)
        assert not await backend.delete_endpoint("acme", made.id)
        assert await backend.get_endpoint("acme", made.id) is None


async def test_endpoints_are_listed_newest_first_in_pages_up_to_the_limit(backend_factory: BackendFactory) -> None:
    async with running(backend_factory) as backend:
        made = [(await create(backend)).id for _ in range(4)]
        first = await backend.list_endpoints("acme", limit=3, cursor=None)
        rest = await backend.list_endpoints("acme", limit=3, cursor=first.next_cursor)
        listed = [endpoint.id for endpoint in [*first.items, *rest.items]]
        assert sorted(listed) == sorted(made)
        assert (first.done, rest.done, rest.next_cursor) == (False, True, None)
        with pytest.raises(Conflict):
            await create(backend)
        await create(backend, "globex")


async def test_a_secret_is_kept_given_and_rotated(backend_factory: BackendFactory) -> None:
    async with running(backend_factory) as backend:
        given = await create(backend, secret=KEY)
        assert await backend.get_secret("acme", given.id) == KEY
        random = await create(backend)
        before = await backend.get_secret("acme", random.id)
        assert before is not None
        assert before.startswith("whsec_")
        rotated = await backend.rotate_secret("acme", random.id, None)
        assert rotated not in (None, before)
        assert await backend.get_secret("acme", random.id) == rotated
        assert await backend.rotate_secret("acme", random.id, KEY) == KEY


# The engine itself


async def test_what_is_sent_outlives_the_process_where_there_is_a_store(backend_factory: BackendFactory) -> None:
    async with running(backend_factory) as backend:
        event = await send(backend)
        endpoint = await create(backend)
    async with running(backend_factory) as backend:
        kept = [] if isinstance(backend, MemoryBackend) else [event.id]
        assert await ids(backend) == kept
        assert (await backend.get_endpoint("acme", endpoint.id) is not None) == bool(kept)


async def test_what_was_submitted_is_written_before_it_closes(backend_factory: BackendFactory) -> None:
    async with running(backend_factory) as backend:
        submission = backend.submit([make(backend)])
    assert submission.finished
    assert len(await submission.wait()) == 1


async def test_a_tenant_is_erased_and_no_other(backend_factory: BackendFactory) -> None:
    async with running(backend_factory) as backend:
        await send(backend)
        await create(backend)
        kept = await send(backend, "globex")
        await backend.erase("acme")
        assert await ids(backend) == []
        assert (await backend.list_endpoints("acme", limit=10, cursor=None)).items == []
        assert await ids(backend, "globex") == [kept.id]
        await backend.erase("acme")


async def test_the_catalog_is_registered_once(backend_factory: BackendFactory) -> None:
    async with running(backend_factory) as backend:
        names = {event_type.name for event_type in TYPES}
        first = await backend.sync(TYPES)
        assert {*first.created, *first.updated, *first.unchanged} == names
        again = await backend.sync(TYPES)
        assert (again.created, again.updated, set(again.unchanged)) == ((), (), names)


async def test_the_key_that_signs_is_one_and_the_same(backend_factory: BackendFactory) -> None:
    async with running(backend_factory) as backend:
        keys = await backend.secret_keys()
        assert min(map(len, keys)) >= 32
        assert await backend.secret_keys() == keys
