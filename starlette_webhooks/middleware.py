"""`WebhooksMiddleware`: the emitter of each request, and the lifespan of `Webhooks`."""

from __future__ import annotations

import traceback
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from starlette_webhooks.emissions import Pending
from starlette_webhooks.emitter import STATE_KEY, Emitter, detach
from starlette_webhooks.problems import Problem
from starlette_webhooks.responding import FlushingSend
from starlette_webhooks.uncommitted import UncommittedResponses

if TYPE_CHECKING:
    from starlette_webhooks.settings import WebhooksSettings

__all__ = ["EmittingApp", "WebhooksMiddleware"]


class EmittingApp(Protocol):
    """What the middleware needs from `Webhooks`, which it cannot import."""

    @property
    def settings(self) -> WebhooksSettings:
        """The settings."""

    def lifespan(self) -> AbstractAsyncContextManager[None]:
        """Run the backend until the block ends."""

    async def check_outbox(self) -> None:
        """Raise if the outbox of the host has no table."""

    def request_emitter(self, scope: Scope, pending: Pending) -> Emitter:
        """Return the emitter of a request or websocket. It adds to `pending` what must be flushed."""


class WebhooksMiddleware:
    """Stores an `Emitter` as `request.state.webhooks`, and runs `webhooks.lifespan()` around the host's own.

    Install it on the app that the server calls. A response is sent only after the events of the request are durable,
    unless the setting `flush_before_response` is off. If they cannot be stored, the response is 503.
    """

    def __init__(self, app: ASGIApp, webhooks: EmittingApp) -> None:
        self.app = app
        self.webhooks = webhooks
        self._losses = Problem("Events that are emitted after the response are being stored again.")
        self._uncommitted = UncommittedResponses()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, or the lifespan."""
        if scope["type"] == "lifespan":
            return await self._lifespan(scope, receive, send)
        if scope["type"] not in ("http", "websocket"):
            return await self.app(scope, receive, send)
        pending = Pending()
        emitter = self.webhooks.request_emitter(scope, pending)
        # In place, so that outer middleware can see it afterwards.
        scope.setdefault("state", {})[STATE_KEY] = emitter
        if not self.webhooks.settings.flush_before_response:
            try:
                return await self.app(scope, receive, send)
            finally:
                detach(emitter)

        flushing_send = FlushingSend(scope, send, pending, self._uncommitted)
        try:
            await self.app(scope, receive, flushing_send)
        except BaseException as exc:
            if pending:
                await pending.flush_quietly()
            if not isinstance(exc, Exception) or not await flushing_send.handle(exc):
                raise
        else:
            if pending:
                await flushing_send.flush_late(self._losses)
        finally:
            detach(emitter)

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        entered = False
        complete: Message | None = None

        async def hold_complete(message: Message) -> None:
            # The server may exit after `shutdown.complete`, so this message waits until the backend is closed.
            nonlocal complete
            if message["type"] == "lifespan.startup.complete":
                # Hosts create their tables as they start. What this raises ends the start.
                await self.webhooks.check_outbox()
            if message["type"] == "lifespan.shutdown.complete":
                complete = message
            else:
                await send(message)

        try:
            async with self.webhooks.lifespan():
                entered = True
                await self.app(scope, receive, hold_complete)
        except BaseException:
            if not entered:
                # To the server, a bare exception means "lifespan unsupported", and it would serve anyway.
                await receive()
                await send({"type": "lifespan.startup.failed", "message": traceback.format_exc()})
            elif complete is not None:
                await send({"type": "lifespan.shutdown.failed", "message": traceback.format_exc()})
            raise
        if complete is not None:
            await send(complete)
