"""Counting more deliveries than are read at a time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from starlette_webhooks.backends.memory import MemoryBackend
from starlette_webhooks.endpoints import EndpointChanges
from starlette_webhooks.event_types import EventTypes
from starlette_webhooks.payloads import new_event
from starlette_webhooks.undelivered import UndeliveredQuery
from tests.settings import make_settings

MANY = 1100


async def test_all_deliveries_are_counted_in_batches() -> None:
    backend = MemoryBackend(make_settings(), deliver=False)
    async with backend.lifespan(EventTypes()):
        await backend.create_endpoint("acme", EndpointChanges(url="http://127.0.0.1:9/"))
        await backend.submit([new_event("a.b", {}, tenant="acme") for _ in range(MANY)]).wait()
        waiting = UndeliveredQuery(tenant="acme", states=("waiting",))
        found = await backend.count_undelivered(waiting)
        assert (found.count, found.exact) == (MANY, True)
        some = await backend.count_undelivered(waiting, within=0.0)
        assert (0 < some.count < MANY, some.exact) == (True, False)
        limited = await backend.count_undelivered(waiting, most=10)
        assert (limited.count, limited.exact) == (10, False)


async def test_what_an_endpoint_has_missed_is_counted_to_the_end() -> None:
    backend = MemoryBackend(make_settings(), deliver=False)
    async with backend.lifespan(EventTypes()):
        before = datetime.now(UTC) - timedelta(days=1)
        await backend.submit([new_event("a.b", {}, tenant="acme") for _ in range(MANY)]).wait()
        endpoint = await backend.create_endpoint("acme", EndpointChanges(url="http://127.0.0.1:9/"))
        found = await backend.count_recoverable("acme", endpoint.id, before, None, missing=True)
        assert found is not None
        assert (found.failed, found.missing, found.exact) == (0, MANY, True)
        assert await backend.count_recoverable("acme", "ep_" + "0" * 27, before, None, missing=True) is None
