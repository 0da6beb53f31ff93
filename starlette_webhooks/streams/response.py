"""The responses of the stream route: a stream, or a temporary refusal after which browsers reconnect."""

from __future__ import annotations

import random
from collections.abc import Awaitable
from typing import TYPE_CHECKING

from starlette.responses import Response

from starlette_webhooks.feed import StreamFilter
from starlette_webhooks.scope import DEFERRED
from starlette_webhooks.streams.frames import stream_headers

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from starlette_webhooks.sessions import Session
    from starlette_webhooks.streams.hub import StreamHub

__all__ = ["StreamResponse", "TemporaryRefusal"]


class StreamResponse:
    """A stream of events. `Webhooks` serves it after the router has returned.

    While a stream is open, its whole call stack stays in memory. The router, the request and the error handling would
    be a fifth of the memory of a stream.
    """

    __slots__ = ("_filter", "_hub", "_last_event_id", "_session", "_tenant")

    def __init__(
        self,
        hub: StreamHub,
        tenant: str,
        filter: StreamFilter,
        *,
        last_event_id: str | None,
        session: Session | None,
    ) -> None:
        self._hub = hub
        self._tenant = tenant
        self._filter = filter
        self._last_event_id = last_event_id
        self._session = session

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Do nothing. `Webhooks` calls `serve`."""
        scope[DEFERRED].append(self)

    def serve(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Send the response. Returns the coroutine of `StreamHub.serve`, because another one around it costs memory."""
        return self._hub.serve(
            scope,
            receive,
            send,
            tenant=self._tenant,
            filter=self._filter,
            last_event_id=self._last_event_id,
            session=self._session,
        )


class TemporaryRefusal(Response):
    """A stream that ends immediately, with a comment that says why. The client reconnects later.

    An `EventSource` gives up permanently at any status other than 200.

    Args:
        retry_after: The minimum of seconds until the client tries again.
    """

    def __init__(self, reason: str, *, retry_after: float) -> None:
        # Random, because clients that were refused together would reconnect together.
        milliseconds = int(retry_after * random.uniform(1000, 2000))
        comment = " ".join(reason.split())
        super().__init__(f"retry: {milliseconds}\n\n: {comment}\n\n", headers=stream_headers())
