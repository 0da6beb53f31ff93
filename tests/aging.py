"""Lets tests set the time of a host forward, and remove what is then too old."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from starlette_webhooks import Principal, Webhooks
from starlette_webhooks.backends.pruner import Pruner
from starlette_webhooks.backends.stored import StoredBackend
from starlette_webhooks.testing import Clock
from tests.hosts import READ, WRITE

__all__ = ["aging_routes", "any_tenant"]

_RETENTION_DAYS = 30


def any_tenant(key: str) -> Principal:
    """Each key is that of a tenant with this name, so that each test has its own."""
    return Principal(key, [READ, WRITE])


def aging_routes(webhooks: Webhooks) -> list[Route]:
    """Return routes that change the time, and that erase a tenant."""
    clock = Clock()
    clock.control(webhooks)
    backend = webhooks.backend
    assert isinstance(backend, StoredBackend)
    # Nothing is removed by itself: new events have the system's time, so they would be too old for the host's clock.
    backend.settings = backend.settings.model_copy(update={"retention_days": 36_500})
    pruner = Pruner(backend.store, _RETENTION_DAYS)

    async def age(request: Request) -> JSONResponse:
        await clock.sleep(86_400 * float(request.query_params["days"]))
        await pruner.prune()
        return JSONResponse({})

    async def erase(request: Request) -> JSONResponse:
        await webhooks.erase(request.query_params["tenant"])
        return JSONResponse({})

    return [Route("/age", age, methods=["POST"]), Route("/erase", erase, methods=["POST"])]
