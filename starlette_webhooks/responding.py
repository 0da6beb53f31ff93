"""Delays a response until the events of its request are durable, and replaces it if they cannot be stored."""

from __future__ import annotations

import json
from collections.abc import Awaitable

from starlette.types import Message, Scope, Send

from starlette_webhooks.emissions import Pending
from starlette_webhooks.exceptions import BackendError, BackendUnavailable, QueueFull
from starlette_webhooks.problems import Problem
from starlette_webhooks.uncommitted import UncommittedResponses

__all__ = ["FlushingSend"]

_RETRY_AFTER = b"5"
_BODY = json.dumps({"code": "unavailable", "detail": "The service is unavailable. Try again later."}).encode()


class FlushingSend:
    """The `send` of a request or websocket: sends a message only after the events emitted so far are durable.

    If they cannot be stored and no response has started, the response is 503. The host cannot send it: at the time of
    the error, frameworks consider their response started.
    """

    __slots__ = ("_failure", "_pending", "_scope", "_send", "_started", "_uncommitted")

    def __init__(self, scope: Scope, send: Send, pending: Pending, uncommitted: UncommittedResponses) -> None:
        self._scope = scope
        self._send = send
        self._pending = pending
        self._uncommitted = uncommitted
        # A websocket has no response. Its errors go to the server, which closes it.
        self._started = scope["type"] != "http"
        self._failure: Exception | None = None

    def __call__(self, message: Message) -> Awaitable[None]:
        # Without another coroutine, because every frame of every stream passes through here.
        return self._send(message) if self._started and not self._pending else self._flush_and_send(message)

    async def _flush_and_send(self, message: Message) -> None:
        try:
            await self._pending.flush()
        except BackendError as exc:
            if not self._started:
                await self._answer(exc)
            # The error interrupts the host's response, and is raised from the host's app.
            raise
        if message["type"] == "http.response.start":
            self._started = True
            await self._send(message)
            # Not before: hosts commit in hooks that their framework calls as the response starts.
            if self._pending.uncommitted:
                self._uncommitted.found(self._scope)
            return
        await self._send(message)

    async def handle(self, error: Exception) -> bool:
        """Return whether an error of the host's app has been answered, so that the server must not see it."""
        if self._failure is not None:
            return _stems_from(error, self._failure)
        if self._started or not isinstance(error, (BackendUnavailable, QueueFull)):
            return False
        # The host awaited an emission and did not handle the error.
        await self._answer(error)
        return True

    async def flush_late(self, losses: Problem) -> None:
        """Flush events that were emitted after the last message, for example by a background task. Logs errors."""
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
            # The host is interrupted, and may not have read the request.
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": 503, "headers": headers})
        await send({"type": "http.response.body", "body": _BODY})


async def _drop(message: Message) -> None:
    """Discards what the host sends after the response, such as its own error page."""


def _stems_from(error: BaseException | None, failure: Exception) -> bool:
    """Return whether the failure is an error itself, its cause or context, or part of its group."""
    while error is not None:
        if error is failure:
            return True
        if isinstance(error, BaseExceptionGroup):
            return any(_stems_from(one, failure) for one in error.exceptions)
        error = error.__cause__ or error.__context__
    return False
