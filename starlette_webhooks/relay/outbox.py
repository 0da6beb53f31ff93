"""The outbox: events that are durable here and on their way somewhere else. What a store offers, and what it keeps."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Protocol

from starlette_webhooks.events import Event
from starlette_webhooks.meta import Meta
from starlette_webhooks.relay.clock import TimeSource
from starlette_webhooks.submissions import Submission

__all__ = ["DeadLetter", "EntryState", "Lock", "Outbox", "OutboxCounts", "OutboxEntry", "OutboxStore", "Recording"]


class EntryState(IntEnum):
    """Where an event stands. The numbers are what stores keep."""

    WAITING = 0
    ACCEPTED = 1
    DEAD_LETTERED = 2


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """An event in the outbox. `event.id` is the target's id once the target has accepted it.

    Attributes:
        seq: Its place in the order of commits, in which a tenant's events are forwarded.
        code: Why it was dead-lettered, in the target's words.
    """

    seq: int
    event: Event
    state: EntryState = EntryState.WAITING
    code: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event that the target refused permanently, and why, in the target's words."""

    event: Event
    code: str
    detail: str
    dead_lettered_at: datetime


@dataclass(frozen=True, slots=True)
class OutboxCounts:
    """What the outbox holds. Counted up to a bound of the store's, so that it stays cheap.

    Attributes:
        oldest: When the first event that waits happened, in seconds since the epoch.
    """

    waiting: int = 0
    oldest: float | None = None
    dead_lettered: int = 0


class Lock(Protocol):
    """Decides which of several processes relays. Freed when its holder dies."""

    @property
    def held(self) -> bool:
        """Whether this process holds it."""

    async def acquire(self) -> None:
        """Wait until this process holds it. Raises `BackendUnavailable` if there is no way to ask for it."""

    def release(self) -> None:
        """Let another process have it."""


class Recording(Protocol):
    """A change to the outbox that is on its way to the disk."""

    async def wait(self) -> object:
        """Wait until it is durable. Raises `BackendUnavailable` if it is not."""


class Outbox(Protocol):
    """What the relay needs."""

    async def tenants(self, after: int | None) -> tuple[Sequence[str], int]:
        """Tenants with events that wait, among those committed after a position (None: all), and the new position."""

    async def next(self, tenant: str, limit: int) -> Sequence[OutboxEntry]:
        """The tenant's first events that wait, in order. Fewer than `limit` if they are large."""

    async def accept(self, entry: OutboxEntry, event: Event, *, check_at: float | None) -> Recording:
        """Record that the target has the event, as `event`."""

    async def dead_letter(self, entry: OutboxEntry, code: str, detail: str) -> Recording:
        """Record that the target will never take the event as it is."""


class OutboxStore(Outbox, Meta, Protocol):
    """The outbox of a backend that keeps its events elsewhere, with what else that backend must remember."""

    @property
    def shared(self) -> bool:
        """Whether it outlives this process, and other processes may use it at the same time."""

    @property
    def problem(self) -> str | None:
        """Why it cannot be used at the moment, or None."""

    def lifespan(self, on_commit: Callable[[bool], None]) -> AbstractAsyncContextManager[None]:
        """Open it until the block ends; what was submitted is committed then.

        Args:
            on_commit: Called on the event loop after each commit of this process, with whether new events came in.
        """

    def lock(self, time: TimeSource) -> Lock:
        """The lock of the process that relays from this outbox."""

    def submit(self, events: Sequence[Event]) -> Submission:
        """Take events, all or none. Thread-safe; never blocks."""

    async def committed(self) -> None:
        """Wait until everything that was submitted so far is committed."""

    # Looking up

    async def find(self, tenant: str, event_id: str) -> OutboxEntry | None:
        """What was submitted with that `event_id`, for as long as it is remembered."""

    async def waits(self, tenant: str | None = None) -> bool:
        """Whether events wait, of this tenant or of any."""

    async def counts(self) -> OutboxCounts:
        """How much it holds."""

    async def record(self, event: Event, *, check_at: float | None) -> None:
        """Record that the target has an event that never waited here."""

    # For the operator

    async def dead_letters(self, limit: int) -> Sequence[DeadLetter]:
        """Events that were refused permanently, oldest first."""

    async def redrive(self, tenant: str | None) -> int:
        """Let dead-lettered events wait again, of this tenant or of all. Returns how many."""

    # Keeping order

    async def in_doubt(self) -> Sequence[OutboxEntry]:
        """Accepted events for which it is time to check whether they are being delivered."""

    async def resolve(self, entry: OutboxEntry, check_again_at: float | None = None) -> None:
        """The event is being delivered; or check again later."""

    async def prune(self) -> bool:
        """Forget a batch of accepted events that are old enough. False when there were none."""

    async def erase(self, tenant: str) -> None:
        """Forget a tenant's events, including those that wait."""

    # What else the backend remembers

    async def owned_event_types(self) -> Sequence[str]:
        """Event types that this host registered: of those that left its catalog, only these may be archived."""

    async def own_event_types(self, names: Collection[str]) -> None:
        """Remember event types as registered by this host."""

    async def disown_event_type(self, name: str) -> None:
        """Forget that this host registered an event type."""
