"""A backend of the host's own: what it gets from the base class."""

from __future__ import annotations

import time
from typing import Any

import pytest

from starlette_webhooks.backends.base import Backend
from starlette_webhooks.exceptions import NotSupported
from starlette_webhooks.operations import EndpointQuery, TenantQuery

# A class with everything that is abstract, and nothing else.
Minimal: Any = type("Minimal", (Backend,), {"name": "minimal", **dict.fromkeys(Backend.__abstractmethods__)})


async def test_it_needs_no_dead_letters_keys_or_log() -> None:
    backend: Backend = Minimal()
    assert await backend.dead_letters() == ()
    assert await backend.redrive() == 0
    assert await backend.discard(["msg_1"]) == 0
    assert await backend.dead_letter_tenants(["msg_1"]) == {}
    assert await backend.reencrypt() == 0
    assert await backend.log_name() == ""
    assert await backend.portal("acme", write=True, expires_in=60) is None
    await backend.end_portal_access("acme")
    await backend.refresh_figures()
    await backend.prune()
    assert (backend.busy, backend.on_loop, backend.committed) == (0, False, None)
    backend.wake()


async def test_operations_that_it_does_not_have_say_so() -> None:
    backend: Backend = Minimal()
    for call in (
        backend.overview(),
        backend.find_tenants(TenantQuery()),
        backend.find_endpoints(EndpointQuery()),
        backend.retry_deliveries([]),
    ):
        with pytest.raises(NotSupported):
            await call


def test_its_clock_cannot_be_set_by_tests() -> None:
    with pytest.raises(TypeError, match=r"'minimal' has its own clock.*MemoryBackend"):
        Minimal().set_clock(time.time, time.monotonic)
