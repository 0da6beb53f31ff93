"""The lifespan of a backend, and what it reports about itself, on every backend."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from starlette_webhooks.attempts import AttemptQuery
from starlette_webhooks.backends.base import Backend
from starlette_webhooks.backends.memory import MemoryBackend
from starlette_webhooks.endpoints import EndpointChanges
from starlette_webhooks.events import EventQuery
from starlette_webhooks.exceptions import NotRunning
from starlette_webhooks.feed import StreamFilter
from tests.backends.contract.support import TYPES, MakeBackend, create, ids, make, running, send
from tests.faults import faults

NOW = datetime.now(UTC)
EVENT, ENDPOINT = "msg_" + "0" * 27, "ep_" + "0" * 27
CALLS: dict[str, Callable[[Backend], Awaitable[object]]] = {
    "send": lambda backend: backend.send([make(backend)]),
    "list_events": lambda backend: backend.list_events("acme", EventQuery()),
    "get_event": lambda backend: backend.get_event("acme", EVENT),
    "get_event of a malformed id": lambda backend: backend.get_event("acme", "nonsense"),
    "list_attempts": lambda backend: backend.list_attempts("acme", AttemptQuery(event_id=EVENT)),
    "replay": lambda backend: backend.replay("acme", StreamFilter(), EVENT),
    "list_endpoints": lambda backend: backend.list_endpoints("acme", limit=10, cursor=None),
    "get_endpoint": lambda backend: backend.get_endpoint("acme", ENDPOINT),
    "create_endpoint": lambda backend: create(backend),
    "update_endpoint": lambda backend: backend.update_endpoint("acme", ENDPOINT, EndpointChanges(description="x")),
    "delete_endpoint": lambda backend: backend.delete_endpoint("acme", ENDPOINT),
    "delete_endpoint of a malformed id": lambda backend: backend.delete_endpoint("acme", "nonsense"),
    "get_secret": lambda backend: backend.get_secret("acme", ENDPOINT),
    "rotate_secret": lambda backend: backend.rotate_secret("acme", ENDPOINT, None),
    "endpoint_stats": lambda backend: backend.endpoint_stats("acme", ENDPOINT, NOW, NOW),
    "resend": lambda backend: backend.resend("acme", EVENT, ENDPOINT),
    "recover": lambda backend: backend.recover("acme", ENDPOINT, NOW, None, missing=True),
    "test_endpoint": lambda backend: backend.test_endpoint("acme", ENDPOINT, make(backend)),
    "sync": lambda backend: backend.sync(TYPES),
    "erase": lambda backend: backend.erase("acme"),
    "secret_keys": lambda backend: backend.secret_keys(),
}


async def test_outside_its_lifespan_every_call_says_that_it_is_not_running(make_backend: MakeBackend) -> None:
    backend = make_backend()
    before = await faults(CALLS, backend)
    async with backend.lifespan(TYPES):
        pass
    for found in (before, await faults(CALLS, backend)):
        assert {name: type(fault) for name, fault in found.items()} == dict.fromkeys(CALLS, NotRunning)


async def test_outside_its_lifespan_it_refuses_events_and_follows_no_tenant(make_backend: MakeBackend) -> None:
    backend = make_backend()
    event = make(backend)

    def refuses() -> None:
        with pytest.raises(NotRunning):
            backend.submit([event])
        with pytest.raises(NotRunning):
            backend.watch("acme")
        # A stream may end after the backend.
        backend.unwatch("acme")
        assert backend.health()["status"] == "stopped"

    refuses()
    async with backend.lifespan(TYPES):
        assert backend.health()["status"] == "ok"
    refuses()


async def test_health_names_the_backend_and_can_be_sent_as_json(make_backend: MakeBackend) -> None:
    async with running(make_backend) as backend:
        health = json.loads(json.dumps(backend.health()))
        assert (health["backend"], health["status"]) == (backend.name, "ok")
        assert "_" not in "".join(names_in(health))


def names_in(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield name
            yield from names_in(inner)


async def test_the_page_for_customers_is_ours(make_backend: MakeBackend) -> None:
    async with running(make_backend) as backend:
        assert await backend.portal("acme", write=True, expires_in=3600) is None


async def test_what_is_sent_outlives_the_process_where_there_is_a_store(make_backend: MakeBackend) -> None:
    async with running(make_backend) as backend:
        event = await send(backend)
        endpoint = await create(backend)
    async with running(make_backend) as backend:
        kept = [] if isinstance(backend, MemoryBackend) else [event.id]
        assert await ids(backend) == kept
        assert (await backend.get_endpoint("acme", endpoint.id) is not None) == bool(kept)


async def test_what_was_submitted_is_written_before_it_closes(make_backend: MakeBackend) -> None:
    async with running(make_backend) as backend:
        submission = backend.submit([make(backend)])
    assert submission.finished
    assert len(await submission.wait()) == 1


async def test_a_tenant_is_erased_and_no_other(make_backend: MakeBackend) -> None:
    async with running(make_backend) as backend:
        await send(backend, event_id="order-1")
        await create(backend)
        kept = await send(backend, "globex")
        await backend.erase("acme")
        assert await ids(backend) == []
        assert (await backend.list_endpoints("acme", limit=10, cursor=None)).items == []
        assert await ids(backend, "globex") == [kept.id]
        again = await send(backend, event_id="order-1", data={"again": True})
        assert again.data == {"again": True}
        await backend.erase("acme")
        await backend.erase("acme")
        assert await ids(backend) == []


async def test_the_catalog_is_registered_once(make_backend: MakeBackend) -> None:
    async with running(make_backend) as backend:
        names = {event_type.name for event_type in TYPES}
        first = await backend.sync(TYPES)
        assert {*first.created, *first.updated, *first.unchanged} == names
        again = await backend.sync(TYPES)
        assert (again.created, again.updated, set(again.unchanged)) == ((), (), names)


async def test_the_key_that_signs_is_one_and_the_same(make_backend: MakeBackend) -> None:
    async with running(make_backend) as backend:
        keys = await backend.secret_keys()
        assert min(map(len, keys)) >= 32
        assert await backend.secret_keys() == keys


async def test_separators_that_break_lines_elsewhere_are_listed_escaped(make_backend: MakeBackend) -> None:
    async with running(make_backend) as backend:
        (event,) = await backend.send([make(backend, data={"text": "a\u2028b\u2029c\u0085d"})])
        found = await backend.get_event(event.tenant, event.id)
        assert found is not None
        assert found.data == {"text": "a\u2028b\u2029c\u0085d"}
        assert len(found.encode().decode().splitlines()) == 1
