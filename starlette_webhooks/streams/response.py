"""What the route of the stream returns: a stream, or a refusal that does not end the patience of a browser."""

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
    """A stream of events. `Webhooks` serves it once the router is left.

    As long as a stream is open, every frame of the call stack below it stays in memory. Those of the router, with the
    request and the handling of errors, would be a fifth of what a stream holds.
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
        """Leave it to `Webhooks` to call `serve`."""
        scope[DEFERRED].append(self)

    def serve(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Answer the request. See `StreamHub.serve`, which is returned, as a coroutine around it would be kept, too."""
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
    """A stream that ends at once, and says in a comment why. The client comes back later.

    An `EventSource` gives up for good at any other status than 200.

    Args:
        retry_after: Seconds until the client tries again, at least.
    """

    def __init__(self, reason: str, *, retry_after: float) -> None:
        # Spread, as those who were refused together would come back together.
        milliseconds = int(retry_after * random.uniform(1000, 2000))
        comment = " ".join(reason.split())
        super().__init__(f"retry: {milliseconds}\n\n: {comment}\n\n", headers=stream_headers())
