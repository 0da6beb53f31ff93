"""Operations over all tenants, on every backend."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial

import pytest

from starlette_webhooks.attempts import AttemptQuery
from starlette_webhooks.backends.base import Backend
from starlette_webhooks.backends.svix import SvixBackend
from starlette_webhooks.event_states import EventSearch
from starlette_webhooks.exceptions import NotRunning, NotSupported
from starlette_webhooks.operations import EndpointQuery, RecentEvents, TenantQuery
from starlette_webhooks.undelivered import Retried, UndeliveredCount, UndeliveredQuery
from tests.backends.contract.conftest import KINDS
from tests.backends.contract.support import MakeBackend, create, running, send
from tests.eventually import eventually
from tests.faults import faults
from tests.receivers import Receiver

EVENT, ENDPOINT = "msg_" + "0" * 27, "ep_" + "0" * 27
SINCE = datetime(2026, 1, 1, tzinfo=UTC)
CALLS: dict[str, Callable[[Backend], Awaitable[object]]] = {
    "overview": lambda backend: backend.overview(),
    "find_tenants": lambda backend: backend.find_tenants(TenantQuery()),
    "find_endpoints": lambda backend: backend.find_endpoints(EndpointQuery()),
    "disable_endpoint": lambda backend: backend.disable_endpoint(ENDPOINT),
    "find_event": lambda backend: backend.find_event(EVENT),
    "recent_events": lambda backend: backend.recent_events(RecentEvents()),
    "find_undelivered": lambda backend: backend.find_undelivered(UndeliveredQuery()),
    "count_undelivered": lambda backend: backend.count_undelivered(UndeliveredQuery()),
    "count_recoverable": lambda backend: backend.count_recoverable("acme", ENDPOINT, SINCE, None, missing=True),
    "retry_undelivered": lambda backend: backend.retry_undelivered(UndeliveredQuery()),
    "find_deliveries": lambda backend: backend.find_deliveries("acme", [(EVENT, ENDPOINT)]),
    "search_events": lambda backend: backend.search_events(EventSearch(tenant="acme")),
    "event_deliveries": lambda backend: backend.event_deliveries("acme", EVENT),
}


on_stores = pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.backend != "svix"], ids="-".join)


async def test_a_backend_without_them_says_what_to_use(make_backend: MakeBackend) -> None:
    async with running(make_backend) as backend:
        found = await faults(CALLS, backend)
        refused = {name for name, fault in found.items() if isinstance(fault, NotSupported)}
        assert refused == (CALLS.keys() - {"overview"} if isinstance(backend, SvixBackend) else set())
        assert {name: found[name] for name in CALLS.keys() - refused} == dict.fromkeys(CALLS.keys() - refused)
        assert {name for name in refused if "Svix stores the deliveries" not in str(found[name])} == set()


async def test_outside_the_lifespan_they_say_so(make_backend: MakeBackend) -> None:
    found = await faults(CALLS, make_backend())
    assert {name: fault for name, fault in found.items() if not isinstance(fault, (NotRunning, NotSupported))} == {}


async def fail(backend: Backend, receiver: Receiver, *tenants: str) -> None:
    """An event for a failing endpoint of each tenant, which was attempted once."""
    for tenant in tenants:
        await create(backend, tenant, url=receiver.url + "/fail")
        await send(backend, tenant)

    async def failing() -> bool:
        return (await backend.overview()).failing == len(tenants)

    await eventually(failing)


@on_stores
async def test_what_failed_is_retried_over_all_tenants_and_arrives(
    make_backend: MakeBackend, receiver: Receiver
) -> None:
    async with running(make_backend) as backend:
        await fail(backend, receiver, "acme", "globex", "initech")
        assert await backend.count_undelivered(UndeliveredQuery()) == UndeliveredCount(3, exact=True)
        assert await backend.count_undelivered(UndeliveredQuery(), most=2) == UndeliveredCount(2, exact=False)
        assert await backend.count_undelivered(UndeliveredQuery(), within=60) == UndeliveredCount(3, exact=True)
        receiver.answer = lambda request: 200
        progress: list[Retried] = []
        one = await backend.retry_undelivered(UndeliveredQuery(tenant="acme"), on_progress=progress.append)
        assert [one] == progress == [Retried(queued=1)]
        rest = await backend.retry_undelivered(UndeliveredQuery())
        assert rest.queued in (2, 3)

        async def arrived() -> bool:
            return await backend.count_undelivered(UndeliveredQuery()) == UndeliveredCount(0, exact=True)

        await eventually(arrived)


@on_stores
async def test_an_event_is_found_by_the_state_of_its_delivery_which_is_retried_by_name(
    make_backend: MakeBackend, receiver: Receiver
) -> None:
    async with running(make_backend) as backend:
        await fail(backend, receiver, "acme")
        (event,) = (await backend.search_events(EventSearch(tenant="acme", state="failing"))).items
        deliveries = await backend.event_deliveries("acme", event.id)
        assert deliveries is not None
        (delivery,) = deliveries.items
        assert (delivery.state, delivery.attempts) == ("failing", 1)
        receiver.answer = lambda request: 200
        found = await backend.find_deliveries("acme", [(event.id, delivery.endpoint_id), (EVENT, ENDPOINT)])
        assert len(found) == 1
        assert await backend.retry_deliveries(found) == Retried(queued=1)

        async def arrived() -> bool:
            page = await backend.search_events(EventSearch(tenant="acme", state="delivered"))
            return [one.id for one in page.items] == [event.id]

        await eventually(arrived)


@on_stores
async def test_a_retry_skips_waiting_deliveries_and_those_of_disabled_endpoints(
    make_backend: MakeBackend, receiver: Receiver
) -> None:
    async with running(make_backend) as backend:
        await fail(backend, receiver, "acme")
        (found,) = (await backend.find_undelivered(UndeliveredQuery())).items
        assert (await backend.disable_endpoint(found.endpoint_id)) is not None
        assert (await backend.overview()).held == 1
        assert await backend.retry_undelivered(UndeliveredQuery()) == Retried(disabled=1)
        assert await backend.retry_undelivered(UndeliveredQuery(states=("waiting",))) == Retried()


@on_stores
async def test_an_endpoint_of_any_tenant_is_disabled_and_enabled(make_backend: MakeBackend) -> None:
    async with running(make_backend) as backend:
        endpoint = await create(backend, "globex")
        disabled = await backend.disable_endpoint(endpoint.id)
        assert disabled is not None
        assert (disabled.tenant, disabled.disabled, disabled.disabled_reason) == ("globex", True, "manual")
        enabled = await backend.enable_endpoint(endpoint.id)
        assert enabled is not None
        assert not enabled.disabled
        assert await backend.enable_endpoint(ENDPOINT) is None


@on_stores
async def test_what_fails_again_is_not_retried_without_end(make_backend: MakeBackend, receiver: Receiver) -> None:
    async with running(make_backend) as backend:
        await fail(backend, receiver, "acme")
        (found,) = (await backend.find_undelivered(UndeliveredQuery())).items

        async def attempted(times: int) -> bool:
            return len((await backend.list_attempts("acme", AttemptQuery(event_id=found.event_id))).items) == times

        for times in (2, 3):
            assert await backend.retry_undelivered(UndeliveredQuery()) == Retried(queued=1)
            await eventually(partial(attempted, times))
