"""Reads the events that a stream has missed from Svix."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING

import anyio

from starlette_webhooks.backends.svix.messages import fitting, id_at, next_window, position_at
from starlette_webhooks.events import Event
from starlette_webhooks.exceptions import BackendUnavailable
from starlette_webhooks.feed import REPLAY_BYTES, Entry, Gap, Replay, StreamFilter
from starlette_webhooks.identifiers import is_first_id, is_message_id, is_position_id, timestamp_ms

if TYPE_CHECKING:
    from starlette_webhooks.backends.svix.messages import Messages
    from starlette_webhooks.backends.svix.tail import Tail

__all__ = ["SvixReplay", "open_replay"]

_BEGIN_WITHIN = 8.0
# How many messages the first page has. The sizes of a page decide how many the next one has.
_FIRST_PAGE = 25
# Seconds for which Svix keeps payloads, unless it is configured otherwise.
_KEPT = 90 * 86_400.0


class SvixReplay(Replay):
    """The messages after an id, sorted by id, up to the present.

    Args:
        start: The id after which it starts. None replays nothing.
        after: The position after which it starts, or 0 if unknown.
        skip: An id that the stream certainly has.
        high: The current last position. The replay includes what was published up to there.
        last_id: See `Replay.last_id`. By default, None.
    """

    def __init__(
        self,
        messages: Messages,
        tail: Tail,
        filter: StreamFilter,
        *,
        start: str | None,
        high: int,
        after: int = 0,
        skip: str = "",
        gap: Gap | None = None,
        last_id: str | None = None,
    ) -> None:
        self._messages = messages
        self._tail = tail
        self._filter = filter
        self._start = start
        self.position = high
        self._after = after
        self._skip = skip
        # Ids up to `mark` are final and published, so only greater ones can still be published to the stream.
        self._mark = start if after and start is not None else max(start or "", tail.mark)
        self._brought: set[str] = set()
        self.gap = gap
        self.last_id = last_id

    def covers(self, entry: Entry) -> bool:
        """Return whether the entry was published before the replay was created, or was part of it."""
        return entry.position <= self.position or entry.event.id in self._brought

    async def pages(self) -> AsyncIterator[Sequence[Event]]:
        """Yield the events that match the filter, by id. Raises `BackendUnavailable` if Svix cannot be read."""
        if self._start is None:
            return
        cursor: str | None = self._start
        limit = _FIRST_PAGE
        while cursor is not None:
            page = await self._messages.upwards(self._tail.tenant, cursor, content=True, limit=limit)
            cursor = next_window(cursor, self._messages.now()) if page.done else page.events[-1].id
            limit = fitting(page.events, REPLAY_BYTES) if page.events else limit
            # While the caller sends the page, this must not keep it in memory.
            wanted = [self._choose(page.events)]
            del page
            if wanted[0]:
                yield wanted.pop()
        late = [await self._published_but_not_read()]
        if late[0]:
            yield late.pop()

    def _choose(self, events: Sequence[Event]) -> list[Event]:
        wanted = []
        for event in events:
            if event.id in self._brought or event.id == self._skip:
                continue
            if event.id > self._mark:
                self._brought.add(event.id)
            position = self._tail.published(event.id)
            if (position is None or position > self._after) and self._filter.matches(event):
                wanted.append(event)
        return wanted

    async def _published_but_not_read(self) -> list[Event]:
        # A lagging replica may not show what another one has shown to the tail, which publishes nothing twice.
        try:
            with anyio.fail_after(_BEGIN_WITHIN):
                await self._tail.begun.wait()
        except TimeoutError:  # pragma: no cover  Takes eight seconds.
            raise BackendUnavailable("Svix cannot be read. Try again later.") from None
        tail = self._tail
        published = tail.published_after(self._mark, self._after)
        late = sorted(published - self._brought - {self._skip})
        self._brought.update(late)
        events = [await self._messages.get(tail.tenant, identifier) for identifier in late]
        return [event for event in events if event is not None and self._filter.matches(event)]


async def open_replay(
    messages: Messages, tail: Tail, filter: StreamFilter, after: str | int | None, *, high: int, overlap: float
) -> SvixReplay:
    """See `Backend.replay`. `high` is the current last position."""
    now = position_at(messages.now())
    if after is None:
        return SvixReplay(messages, tail, filter, start=None, high=high, last_id=now)
    if isinstance(after, int):
        return SvixReplay(messages, tail, filter, start=tail.start_after(after), high=high, after=after)
    is_time = is_first_id("msg_", after) or is_position_id(after)
    if is_time and timestamp_ms(after) / 1000 >= messages.now() - _KEPT:
        # A time: that of a stream that has not got an event yet, or one to start from.
        start = id_at(timestamp_ms(after) / 1000 - overlap)
        return SvixReplay(messages, tail, filter, start=start, high=high, last_id=now)
    known = is_message_id(after) and (
        tail.published(after) is not None or await messages.get(tail.tenant, after) is not None
    )
    if not known:
        oldest = await messages.oldest(tail.tenant)
        start = tail.mark if oldest is None else id_at(timestamp_ms(oldest) / 1000)
        if is_message_id(after):
            # Pruned, or lost when a database was restored from a backup. The reader has everything older.
            start = max(start, id_at(timestamp_ms(after) / 1000 - overlap))
        return SvixReplay(messages, tail, filter, start=start, high=high, gap=Gap(after, oldest), last_id=now)
    # Other messages of that time may have appeared after this one was sent.
    start = id_at(timestamp_ms(after) / 1000 - overlap)
    return SvixReplay(messages, tail, filter, start=start, high=high, skip=after)
