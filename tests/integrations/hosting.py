"""What the hosts in each framework have in common."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse

from starlette_webhooks import Webhooks
from starlette_webhooks.settings import WebhooksSettings
from tests.hosts import make_webhooks

Host = Callable[..., Any]
"""Makes a host around `Webhooks`: `(webhooks, prefix="")`, with everything below the prefix."""


def user_header(connection: HTTPConnection) -> str | None:
    """Return the tenant for whom a request emits."""
    return connection.headers.get("x-user")


def webhooks_for(settings: WebhooksSettings, **options: Any) -> Webhooks:
    return make_webhooks(settings, **{"tenant": user_header, **options})


def lifespan_of(webhooks: Webhooks) -> Callable[[Any], Any]:
    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        await webhooks.emitter("acme").emit("invoice.paid", {"from": "startup"})
        yield
        webhooks.emitter("acme").emit("invoice.paid", {"from": "shutdown"})

    return lifespan


async def host_error(request: Request, error: Exception) -> PlainTextResponse:
    return PlainTextResponse("the host's own page", 500)
