"""The feed of new events: entries in order of commits, what a stream filters, and what it has missed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from starlette_webhooks.events import Event

__all__ = ["REPLAY_BYTES", "Entry", "Gap", "Listener", "Replay", "StreamFilter"]


REPLAY_BYTES = 262_144
"""A page of a `Replay` ends with the event that takes its payloads beyond so many bytes."""


@dataclass(frozen=True, slots=True)
class StreamFilter:
    """Which events of a tenant a stream carries. Equal filters are shared."""

    event_types: frozenset[str] = frozenset()
    channel: str | None = None

    def matches(self, event: Event) -> bool:
        """Whether the event passes. An empty set of types passes all."""
        return (not self.event_types or event.type in self.event_types) and (
            self.channel is None or self.channel in event.channels
        )


@dataclass(frozen=True, slots=True)
class Entry:
    """An event at its position in this process's feed. Positions of one tenant only grow."""

    position: int
    event: Event


@dataclass(frozen=True, slots=True)
class Gap:
    """Where a stream cannot resume: the id it asked for, and the oldest event kept (None where none is)."""

    requested: str
    oldest: str | None


class Listener(Protocol):
    """Who is told of new events; called on the event loop, in order of position, without gaps per tenant."""

    @property
    def tenants(self) -> Collection[str]:
        """Tenants with open streams. Events of others need not be published."""

    def publish(self, entries: Sequence[Entry]) -> None:
        """Take new entries. Never blocks, never raises."""

    def restart(self) -> None:
        """The log has lost entries that were published, as after a failover, and may have others in their place.

        Positions count from anew. What was sent must be compared with the log, by id.
        """


class Replay(ABC):
    """The events between where a stream left off and now, read in pages. Made after the stream was registered.

    Iterate it to its end, then go on with published entries, leaving out those that it `covers`.

    Attributes:
        gap: Set where the stream cannot resume: the replay then begins with the oldest event kept that is newer than
            the one it asked for.
        last_id: The tenant's last event before a replay that starts with what is published from now on, where the
            engine knows it: from there a stream resumes that ends before its first event.
    """

    gap: Gap | None = None
    last_id: str | None = None

    @abstractmethod
    def pages(self) -> AsyncIterator[Sequence[Event]]:
        """The events in order, in pages of about `REPLAY_BYTES`. Holds nothing open between pages."""

    @abstractmethod
    def covers(self, entry: Entry) -> bool:
        """Whether a published entry has been replayed already. Only asked after the last page."""
