"""The interface of an outbox, which stores events until they are forwarded."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from starlette_webhooks.dead_letters import DeadLetters
from starlette_webhooks.events import Event
from starlette_webhooks.meta import Meta
from starlette_webhooks.relay.clock import TimeSource
from starlette_webhooks.submissions import Submission

__all__ = ["EntryState", "Lock", "Outbox", "OutboxCounts", "OutboxEntry", "OutboxStore", "Recording"]


class EntryState(IntEnum):
    """The state of an event. Stores keep the numbers."""

    WAITING = 0
    ACCEPTED = 1
    DEAD_LETTERED = 2


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """An event in the outbox. `event.id` is the target's id after the target has accepted it.

    Attributes:
        seq: Its position in the order of commits, in which a tenant's events are forwarded.
        code: Why it was dead-lettered, from the target.
    """

    seq: int
    event: Event
    state: EntryState = EntryState.WAITING
    code: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class OutboxCounts:
    """The contents of the outbox. Each store counts up to a limit, so that counting is cheap.

    Attributes:
        oldest: When the oldest waiting event happened, in seconds since the epoch.
    """

    waiting: int = 0
    oldest: float | None = None
    dead_lettered: int = 0


class Lock(Protocol):
    """Decides which of several processes relays. It is released when its holder dies."""

    @property
    def held(self) -> bool:
        """Whether this process holds the lock."""

    async def acquire(self) -> None:
        """Wait until this process holds the lock. Raises `BackendUnavailable` if it cannot be requested."""

    async def keep(self) -> None:
        """Keep the lock while this process relays. Ends, or raises `BackendUnavailable`, once it is lost."""

    async def release(self) -> None:
        """Release the lock. Takes only a moment, even if the caller is cancelled."""


class Recording(Protocol):
    """A change to the outbox that waits for its commit."""

    async def wait(self) -> object:
        """Wait until the change is durable. Raises `BackendUnavailable` if that fails."""


class Outbox(Protocol):
    """What the relay needs from an outbox."""

    async def tenants(self, after: int | None) -> tuple[Sequence[str], int]:
        """Return tenants with waiting events that were committed after a position (None: all), and the new position."""

    async def next(self, tenant: str, limit: int) -> Sequence[OutboxEntry]:
        """Return the tenant's first waiting events, in order. Fewer than `limit` if they are large."""

    async def accept(self, entry: OutboxEntry, event: Event, *, check_at: float | None) -> Recording:
        """Record that the target has accepted the event, as `event`."""

    async def dead_letter(self, entry: OutboxEntry, code: str, detail: str) -> Recording:
        """Record that the target will never accept the event as it is."""


class OutboxStore(Outbox, DeadLetters, Meta, Protocol):
    """The outbox of a backend whose events are stored elsewhere, and other state of that backend."""

    @property
    def shared(self) -> bool:
        """Whether the outbox outlives this process and can be used by several processes."""

    @property
    def problem(self) -> str | None:
        """Why the outbox is unavailable, or None."""

    def lifespan(self, on_commit: Callable[[bool], None]) -> AbstractAsyncContextManager[None]:
        """Open the outbox until the block ends. Submitted events are then committed.

        Args:
            on_commit: Called on the event loop after each commit of this process. Its argument is whether there are new
                events.
        """

    def lock(self, time: TimeSource) -> Lock:
        """Return the lock of the process that relays from this outbox."""

    def submit(self, events: Sequence[Event]) -> Submission:
        """Accept events, all or none. Thread-safe, and never blocks."""

    async def committed(self) -> None:
        """Wait until all submitted events are committed."""

    # Looking up

    async def find(self, tenant: str, event_id: str) -> OutboxEntry | None:
        """Return the event that was submitted with this `event_id`, while it is remembered."""

    async def waits(self, tenant: str | None = None) -> bool:
        """Return whether events wait, of this tenant or of any."""

    async def counts(self) -> OutboxCounts:
        """Return how many events there are."""

    async def record(self, event: Event, *, check_at: float | None) -> None:
        """Record that the target has an event that was never in the outbox."""

    # Keeping order

    async def in_doubt(self) -> Sequence[OutboxEntry]:
        """Return accepted events for which it is time to check whether they are being delivered."""

    async def resolve(self, entry: OutboxEntry, check_again_at: float | None = None) -> None:
        """Record that an event is being delivered, or that it must be checked again later."""

    async def prune(self) -> bool:
        """Remove a batch of accepted events that are old enough. Returns False if there are none."""

    async def erase(self, tenant: str) -> None:
        """Remove a tenant's events, including waiting ones."""

    # Other state of the backend

    async def owned_event_types(self) -> Sequence[str]:
        """Return the event types that this host registered. Only these may be archived when they leave the catalog."""

    async def own_event_types(self, names: Collection[str]) -> None:
        """Remember that this host registered event types."""

    async def disown_event_type(self, name: str) -> None:
        """Forget that this host registered an event type."""
