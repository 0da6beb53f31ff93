"""The feed of new events: entries in order of commits, filters of streams, and replays."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from starlette_webhooks.events import Event
from starlette_webhooks.meta import Meta

__all__ = ["REPLAY_BYTES", "CommittedEvents", "Entry", "Gap", "Listener", "Replay", "StreamFilter"]


REPLAY_BYTES = 262_144
"""A page of a `Replay` ends with the event whose payload exceeds this number of bytes."""


@dataclass(frozen=True, slots=True)
class StreamFilter:
    """The filter of a stream. Streams with equal filters share their frames."""

    event_types: frozenset[str] = frozenset()
    channel: str | None = None

    def matches(self, event: Event) -> bool:
        """Return whether the event matches. An empty set of types matches all."""
        return (not self.event_types or event.type in self.event_types) and (
            self.channel is None or self.channel in event.channels
        )


@dataclass(frozen=True, slots=True)
class Entry:
    """An event at its position in this process's feed. Positions within a tenant only increase."""

    position: int
    event: Event


@dataclass(frozen=True, slots=True)
class Gap:
    """The reason why a stream cannot resume: the requested id, and the oldest stored event or None."""

    requested: str
    oldest: str | None


class CommittedEvents(Meta, Protocol):
    """The log for a reader that continues where it, or another process, has stopped."""

    def now(self) -> int:
        """Return the time by the store's clock, in milliseconds since the epoch."""

    async def read_committed(self, tenant: str, after: int, limit: int) -> Sequence[Entry]:
        """Return the tenant's events after a position, in order of commits."""

    async def swap_meta(self, name: str, old: bytes, new: bytes) -> bool:
        """Replace a value if it still is the old one. Returns whether it was."""


class Listener(Protocol):
    """Is notified of new events, on the event loop, in order of position and without gaps within a tenant."""

    @property
    def tenants(self) -> Collection[str]:
        """The tenants with open streams. Events of others need not be published."""

    def publish(self, entries: Sequence[Entry]) -> None:
        """Publish new entries. Never blocks or raises."""

    def restart(self) -> None:
        """Note that the log has lost published entries, for example after a failover, and may have others instead.

        Positions start again. What was sent must be compared with the log by id.
        """


class Replay(ABC):
    """The events that a stream has missed, read in pages. Created after the stream was registered.

    Iterate it to its end, then continue with published entries, leaving out those that it `covers`.

    Attributes:
        gap: Set if the stream cannot resume. The replay then starts with the oldest stored event that is newer than the
            requested one.
        last_id: What a stream resumes after if the replay has sent it nothing: the tenant's last event, or an id that
            stands for a time without events. None if the stream asked for a stored event, and keeps its id.
        position: Where a stream continues that has been sent all of it, or has asked for nothing before.
    """

    position: int
    gap: Gap | None = None
    last_id: str | None = None

    @abstractmethod
    def pages(self) -> AsyncIterator[Sequence[Event]]:
        """Yield the events in order, in pages of about `REPLAY_BYTES`. Keeps nothing open between pages."""

    @abstractmethod
    def covers(self, entry: Entry) -> bool:
        """Return whether a published entry has been replayed. Only called after the last page."""
