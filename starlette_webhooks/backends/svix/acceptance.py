"""If the outbox is in memory, an event counts as durable once Svix has it, not when the outbox has it."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from weakref import WeakValueDictionary

import anyio

from starlette_webhooks.events import Event
from starlette_webhooks.exceptions import BackendRefused, BackendUnavailable
from starlette_webhooks.relay.outbox import Outbox, OutboxEntry, Recording
from starlette_webhooks.submissions import Submission

__all__ = ["AcceptedSubmission", "Acceptances", "ReportingOutbox"]


class Outcome:
    """What became of an event: Svix accepted it, or refused it permanently, or neither yet."""

    __slots__ = ("__weakref__", "_waiting", "event", "refusal")

    def __init__(self) -> None:
        self.event: Event | None = None
        self.refusal: tuple[str, str] | None = None
        self._waiting: list[anyio.Event] = []

    @property
    def settled(self) -> bool:
        """Whether it is known."""
        return self.event is not None or self.refusal is not None

    async def wait(self) -> None:
        """Wait until it is known. On the event loop only, unlike the rest."""
        if not self.settled:
            self._waiting.append(anyio.Event())
            await self._waiting[-1].wait()

    def settle(self, event: Event | None, refusal: tuple[str, str] | None) -> None:
        """It is known."""
        self.event, self.refusal = event, refusal
        for waiting in self._waiting:
            waiting.set()


class Acceptances:
    """The outcomes that submissions hold, and may wait for."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        # Dropped with the last submission that holds it.
        self._open: WeakValueDictionary[tuple[str, str], Outcome] = WeakValueDictionary()

    def outcome(self, event: Event) -> Outcome:
        """The outcome of an event that is about to be submitted. Thread-safe."""
        with self._mutex:
            return self._open.setdefault((event.tenant, event.event_id), Outcome())

    def settle(self, event: Event, *, accepted: Event | None = None, refusal: tuple[str, str] | None = None) -> None:
        """The relay has recorded what became of an event."""
        with self._mutex:
            outcome = self._open.pop((event.tenant, event.event_id), None)
        if outcome is not None:
            outcome.settle(accepted, refusal)


class ReportingOutbox(Outbox):
    """The outbox as the relay sees it, which reports each outcome once its record is on its way.

    Not before: an event with the same `event_id` that is submitted afterwards finds that record, and waits for nothing.
    """

    def __init__(self, outbox: Outbox, acceptances: Acceptances) -> None:
        self._outbox = outbox
        self._acceptances = acceptances

    async def tenants(self, after: int | None) -> tuple[Sequence[str], int]:
        """See `Outbox.tenants`."""
        return await self._outbox.tenants(after)

    async def next(self, tenant: str, limit: int) -> Sequence[OutboxEntry]:
        """See `Outbox.next`."""
        return await self._outbox.next(tenant, limit)

    async def accept(self, entry: OutboxEntry, event: Event, *, check_at: float | None) -> Recording:
        """See `Outbox.accept`."""
        recording = await self._outbox.accept(entry, event, check_at=check_at)
        self._acceptances.settle(entry.event, accepted=event)
        return recording

    async def dead_letter(self, entry: OutboxEntry, code: str, detail: str) -> Recording:
        """See `Outbox.dead_letter`."""
        recording = await self._outbox.dead_letter(entry, code, detail)
        self._acceptances.settle(entry.event, refusal=(code, detail))
        return recording


class AcceptedSubmission(Submission):
    """A submission that ends once Svix has the events, or after so many seconds."""

    __slots__ = ("_deadline", "_inner", "_outcomes", "_returned", "_seconds", "_timed_out")

    def __init__(self, inner: Submission, outcomes: Sequence[Outcome], seconds: float) -> None:
        self._inner = inner
        self._outcomes = outcomes
        self._seconds = seconds
        self._deadline = time.monotonic() + seconds
        self._returned = False
        self._timed_out = False

    @property
    def finished(self) -> bool:
        """See `Submission.finished`."""
        return (
            self._returned
            or self.failed
            or (self._inner.finished and all(outcome.settled for outcome in self._outcomes))
        )

    @property
    def failed(self) -> bool:
        """See `Submission.failed`."""
        return self._inner.failed or self._timed_out or any(outcome.refusal for outcome in self._outcomes)

    async def wait(self) -> Sequence[Event]:
        """See `Submission.wait`. The events come with the ids that Svix gave them."""
        stored = await self._inner.wait()
        with anyio.move_on_after(self._deadline - time.monotonic()):
            pairs = zip(stored, self._outcomes, strict=True)
            accepted = [await self._accepted(event, outcome) for event, outcome in pairs]
            self._returned = True
            return accepted
        self._timed_out = True
        raise BackendUnavailable(
            f"Svix did not take the event within {self._seconds:g} seconds. It is kept in memory and forwarded later, "
            "if this process lives that long. Set `WEBHOOKS_DATABASE` to a file, and responses do not wait for Svix."
        )

    async def _accepted(self, event: Event, outcome: Outcome) -> Event:
        if event.id:
            # Svix has had it from before.
            return event
        await outcome.wait()
        if outcome.refusal is not None:
            code, detail = outcome.refusal
            raise BackendRefused(f"Svix refused the event {event.event_id!r} permanently.", code=code, detail=detail)
        assert outcome.event is not None
        return outcome.event
