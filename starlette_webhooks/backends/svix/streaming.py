"""The tails of tenants with open streams: one per tenant, for any number of streams."""

from __future__ import annotations

import itertools
import logging
import random
from collections import deque
from typing import TYPE_CHECKING

import anyio

from starlette_webhooks.backends.svix.errors import SvixUnavailable
from starlette_webhooks.backends.svix.messages import position_at
from starlette_webhooks.backends.svix.replay import SvixReplay, open_replay
from starlette_webhooks.backends.svix.tail import Tail
from starlette_webhooks.events import Event, EventQuery
from starlette_webhooks.exceptions import BackendError, BackendUnavailable
from starlette_webhooks.feed import Listener, StreamFilter
from starlette_webhooks.log_fields import log_fields
from starlette_webhooks.relay.backoff import backoff

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anyio.abc import TaskGroup

    from starlette_webhooks.backends.svix.messages import Messages
    from starlette_webhooks.feed import Entry
    from starlette_webhooks.relay.clock import TimeSource

__all__ = ["Streaming"]

logger = logging.getLogger("starlette_webhooks")

_RECENT = 20_000
_SLOWER = 1.3
_LONGEST = 30.0


class Streaming:
    """Publishes the events of watched tenants to the listener.

    Args:
        poll: Seconds between two sweeps: after activity, and at most when nothing happens.
        overlap: See `Tail`.
    """

    def __init__(self, messages: Messages, time: TimeSource, *, poll: tuple[float, float], overlap: float) -> None:
        self._messages = messages
        self._time = time
        self._fast, self._slow = poll
        self._overlap = overlap
        self._listener: Listener | None = None
        self._tails: dict[str, tuple[Tail, anyio.CancelScope]] = {}
        self._tasks: TaskGroup | None = None
        self._positions = itertools.count(1)
        self._position = 0
        self._recent: deque[tuple[str, str]] = deque(maxlen=_RECENT)

    @property
    def tails(self) -> int:
        """The number of tenants that are followed."""
        return len(self._tails)

    def start(self, tasks: TaskGroup | None) -> None:
        """Run tails in this task group. None stops starting them."""
        self._tasks = tasks
        if tasks is None:
            self._tails.clear()

    def listen(self, listener: Listener) -> None:
        """See `Backend.listen`."""
        self._listener = listener

    def watch(self, tenant: str) -> None:
        """See `Backend.watch`."""
        if self._tasks is None or tenant in self._tails:
            return
        tail = Tail(
            tenant,
            self._messages,
            known={identifier for owner, identifier in self._recent if owner == tenant},
            position=self._next_position,
            publish=self._publish,
            overlap=self._overlap,
        )
        scope = anyio.CancelScope()
        self._tails[tenant] = (tail, scope)
        self._tasks.start_soon(self._follow, tail, scope)

    def unwatch(self, tenant: str) -> None:
        """See `Backend.unwatch`."""
        found = self._tails.pop(tenant, None)
        if found is not None:
            found[1].cancel()

    def _next_position(self) -> int:
        self._position = next(self._positions)
        return self._position

    def _publish(self, entries: Sequence[Entry]) -> None:
        if self._listener is not None:
            self._listener.publish(entries)

    def forwarded(self, event: Event) -> None:
        """Note that this process has just forwarded the event to Svix."""
        found = self._tails.get(event.tenant)
        if found is not None:
            found[0].take(event)
        elif event.id:
            self._recent.append((event.tenant, event.id))

    async def _follow(self, tail: Tail, scope: anyio.CancelScope) -> None:
        pause, failures = self._fast, 0
        with scope:
            while True:
                try:
                    count = await tail.sweep()
                except Exception as exc:
                    failures += 1
                    self._log(tail, exc, failures)
                    retry_after = exc.retry_after if isinstance(exc, SvixUnavailable) else None
                    delay = backoff(failures, first=2 * self._fast, longest=_LONGEST, retry_after=retry_after)
                else:
                    failures = 0
                    pause = self._fast if count else min(self._slow, pause * _SLOWER)
                    delay = pause * random.uniform(0.8, 1.2)
                await self._time.sleep(delay)

    def _log(self, tail: Tail, exc: Exception, failures: int) -> None:
        fields = log_fields("stream.unreadable", tenant=tail.tenant)
        if not isinstance(exc, BackendError):
            logger.exception(
                "The events of the tenant %r could not be read for its streams. Trying again.",
                tail.tenant,
                extra=fields,
            )
        elif failures == 1:
            logger.warning(
                "The events of the tenant %r cannot be read for its streams. Trying again: %s",
                tail.tenant,
                exc,
                extra=fields,
            )

    async def position(self, tenant: str) -> str:
        """Return the id of the newest event, or the time without one. See `Backend.position`."""
        page = await self._messages.find(tenant, EventQuery(limit=1))
        return page.items[0].id if page.items else position_at(self._messages.now())

    async def replay(self, tenant: str, filter: StreamFilter, after: str | int | None) -> SvixReplay:
        """See `Backend.replay`."""
        found = self._tails.get(tenant)
        if found is None:
            raise BackendUnavailable("The stream is no longer watched. Open it again.")
        return await open_replay(self._messages, found[0], filter, after, high=self._position, overlap=self._overlap)
