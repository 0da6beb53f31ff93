"""Follows the messages of a tenant at Svix for its open streams, without missing any.

Svix mints an id before it commits the message, on several machines with different clocks, so a message can appear
before one that has already been read. At each sweep, the tail therefore reads the last `overlap` seconds again, and
remembers what it has published. All ids up to `mark` are final: they are published, and no others can appear there.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Collection, Sequence
from typing import Protocol

import anyio

from starlette_webhooks.backends.svix.messages import MessagePage, id_at, next_window
from starlette_webhooks.events import Event
from starlette_webhooks.feed import Entry

__all__ = ["Source", "Tail"]

_HISTORY = 20_000
_CHECKPOINTS = 4_000
# How far clocks may differ, for deciding which messages existed before the first stream.
_MARGIN = 0.25
_PROMPT = 1.0


class Source(Protocol):
    """The source of a tail."""

    def now(self) -> float:
        """Return the least possible time at the source, in seconds since the epoch."""

    async def upwards(self, tenant: str, after: str, *, content: bool) -> MessagePage:
        """Return the messages after an id, oldest first."""

    async def fill(self, tenant: str, after: str, events: Sequence[Event]) -> Sequence[Event]:
        """Return these events of the page after an id, with their payloads."""


class Tail:
    """A tenant's messages, each published once.

    Args:
        known: Ids of earlier messages, as far as this process knows.
        position: Returns the next position of this process.
        publish: Called with new entries.
        overlap: The maximum of seconds until a message appears, including differences of clocks and read replicas.

    Attributes:
        mark: All ids up to this one are final.
        seen: Ids after `mark` that were published, or existed before.
        begun: Set once the first sweep was complete.
    """

    def __init__(
        self,
        tenant: str,
        source: Source,
        *,
        known: Collection[str],
        position: Callable[[], int],
        publish: Callable[[Sequence[Entry]], None],
        overlap: float,
    ) -> None:
        self.tenant = tenant
        self._source = source
        self._position = position
        self._publish = publish
        self._overlap = overlap
        self._since = source.now()
        self.mark = id_at(self._since - overlap)
        self.seen: set[str] = set(known)
        self.begun = anyio.Event()
        self._history: dict[str, int] = {}
        self._checkpoints: list[tuple[int, str]] = [(0, self.mark)]
        self._last = 0

    async def sweep(self) -> int:
        """Read and publish new messages, and move `mark` forward. Returns how many events were published."""
        source = self._source
        now = source.now()
        silent_before = ""
        if not self.begun.is_set() and now - self._since < _PROMPT:
            # Messages from before the first stream. If this is late, they could be what the stream waits for.
            silent_before = id_at(self._since - _MARGIN)
        cursor: str | None = self.mark
        count = 0
        while cursor is not None:
            page = await source.upwards(self.tenant, cursor, content=False)
            count += await self._take_page(page, cursor, silent_before)
            cursor = next_window(cursor, now) if page.done else page.events[-1].id
        self._advance(id_at(now - self._overlap))
        self.begun.set()
        return count

    async def _take_page(self, page: MessagePage, cursor: str, silent_before: str) -> int:
        unseen = [event for event in page.events if event.id not in self.seen]
        fresh = [event for event in unseen if event.id >= silent_before]
        self.seen.update(event.id for event in unseen if event.id < silent_before)
        if not fresh:
            return 0
        filled = await self._source.fill(self.tenant, cursor, fresh)
        # This process may have forwarded one of them meanwhile.
        new = [event for event in filled if event.id not in self.seen]
        self._publish_all(new)
        return len(new)

    def take(self, event: Event) -> None:
        """Publish an event that this process has just forwarded to Svix."""
        if event.id and event.id not in self.seen and event.id not in self._history:
            self._publish_all([event])

    def _publish_all(self, events: Sequence[Event]) -> None:
        entries = [Entry(self._position(), event) for event in events]
        for entry in entries:
            self.seen.add(entry.event.id)
            self._history[entry.event.id] = entry.position
            self._last = entry.position
        while len(self._history) > _HISTORY:
            del self._history[next(iter(self._history))]
        if entries:
            self._publish(entries)

    def _advance(self, mark: str) -> None:
        if mark <= self.mark:
            return
        self.mark = mark
        self.seen = {identifier for identifier in self.seen if identifier > mark}
        if self._checkpoints[-1][0] == self._last:
            self._checkpoints[-1] = (self._last, mark)
        else:
            self._checkpoints.append((self._last, mark))
            del self._checkpoints[1:-_CHECKPOINTS]

    def published(self, identifier: str) -> int | None:
        """Return the position at which an event was published, if it is remembered."""
        return self._history.get(identifier)

    def published_after(self, identifier: str, position: int) -> set[str]:
        """Return greater ids that existed or were published after a position, if they are remembered."""
        published = {known for known, at in self._history.items() if known > identifier and at > position}
        return published | {known for known in self.seen if known > identifier and known not in self._history}

    def start_after(self, position: int) -> str:
        """Return an id that is lower than all that were published after a position."""
        index = bisect_right(self._checkpoints, (position, "~")) - 1
        return self._checkpoints[max(index, 0)][1]
