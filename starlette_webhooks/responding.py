"""Holding a response back until what its request emitted is durable, and what is sent in its place where it is not."""

from __future__ import annotations

import json
from collections.abc import Awaitable

from starlette.types import Message, Scope, Send

from starlette_webhooks.emissions import Pending
from starlette_webhooks.exceptions import BackendError, BackendUnavailable, QueueFull
from starlette_webhooks.problems import Problem

__all__ = ["FlushingSend"]

_RETRY_AFTER = b"5"
_BODY = json.dumps({"code": "unavailable", "detail": "Not available at the moment. Try again."}).encode()


class FlushingSend:
    """The `send` of one request or websocket: no message leaves before what was emitted until then is durable.

    Where it cannot be stored and no response has started, the answer is 503. The host could not give it: by the time
    of the error, frameworks count their response as started.
    """

    __slots__ = ("_failure", "_pending", "_scope", "_send", "_started")

    def __init__(self, scope: Scope, send: Send, pending: Pending) -> None:
        self._scope = scope
        self._send = send
        self._pending = pending
        # A websocket has no response; its errors go to the server, which closes it.
        self._started = scope["type"] != "http"
        self._failure: Exception | None = None

    def __call__(self, message: Message) -> Awaitable[None]:
        # No coroutine of its own: every frame of every stream passes here.
        return self._send(message) if self._started and not self._pending else self._flush_and_send(message)

    async def _flush_and_send(self, message: Message) -> None:
        try:
            await self._pending.flush()
        except BackendError as exc:
            if not self._started:
                await self._answer(exc)
            # It ends whatever the host is about to send, and comes out of the host's app.
            raise
        if message["type"] == "http.response.start":
            self._started = True
        await self._send(message)

    async def handle(self, error: Exception) -> bool:
        """Whether an error that comes out of the host's app has been answered, and so is not for the server."""
        if self._failure is not None:
            return _stems_from(error, self._failure)
        if self._started or not isinstance(error, (BackendUnavailable, QueueFull)):
            return False
        # The host awaited what it emitted, and left the error to us.
        await self._answer(error)
        return True

    async def flush_late(self, losses: Problem) -> None:
        """Flush what was emitted after the last message, as by a background task. Nobody is left to be told."""
        try:
            await self._pending.flush()
        except BackendError as exc:
            losses.begin(f"Events that were emitted after the response are lost: {exc}")
            await self._pending.flush_quietly()
        else:
            losses.end()

    async def _answer(self, failure: Exception) -> None:
        send, self._send, self._pending = self._send, _drop, Pending()
        self._failure, self._started = failure, True
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(_BODY)),
            (b"cache-control", b"no-store"),
            (b"retry-after", _RETRY_AFTER),
        ]
        if self._scope.get("http_version", "1.1").startswith("1"):
            # The host may not have read the request, and is cut short.
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": 503, "headers": headers})
        await send({"type": "http.response.body", "body": _BODY})


async def _drop(message: Message) -> None:
    """Takes what the host sends after the answer, such as its own page for errors."""


def _stems_from(error: BaseException | None, failure: Exception) -> bool:
    """Whether the failure is behind an error: as itself, as its cause or context, or within a group."""
    while error is not None:
        if error is failure:
            return True
        if isinstance(error, BaseExceptionGroup):
            return any(_stems_from(one, failure) for one in error.exceptions)
        error = error.__cause__ or error.__context__
    return False
