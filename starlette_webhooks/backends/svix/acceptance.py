"""Waits for Svix's acceptance: if the outbox is in memory, an event is durable only once Svix has it."""

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
    """The result of an event: Svix accepted it, refused it permanently, or neither yet."""

    __slots__ = ("__weakref__", "_waiting", "event", "refusal")

    def __init__(self) -> None:
        self.event: Event | None = None
        self.refusal: tuple[str, str] | None = None
        self._waiting: list[anyio.Event] = []

    @property
    def settled(self) -> bool:
        """Whether the result is known."""
        return self.event is not None or self.refusal is not None

    async def wait(self) -> None:
        """Wait for the result. On the event loop only, unlike the other methods."""
        if not self.settled:
            self._waiting.append(anyio.Event())
            await self._waiting[-1].wait()

    def settle(self, event: Event | None, refusal: tuple[str, str] | None) -> None:
        """Set the result."""
        self.event, self.refusal = event, refusal
        for waiting in self._waiting:
            waiting.set()


class Acceptances:
    """The outcomes that submissions wait for."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        # Weak: an outcome is dropped with the last submission that refers to it.
        self._open: WeakValueDictionary[tuple[str, str], Outcome] = WeakValueDictionary()

    def outcome(self, event: Event) -> Outcome:
        """Return the outcome of an event that is about to be submitted. Thread-safe."""
        with self._mutex:
            return self._open.setdefault((event.tenant, event.event_id), Outcome())

    def settle(self, event: Event, *, accepted: Event | None = None, refusal: tuple[str, str] | None = None) -> None:
        """Note that the relay has recorded the result of an event."""
        with self._mutex:
            outcome = self._open.pop((event.tenant, event.event_id), None)
        if outcome is not None:
            outcome.settle(accepted, refusal)


class ReportingOutbox(Outbox):
    """The outbox for the relay. It reports each outcome after its record was submitted.

    Not earlier, so that an event with the same `event_id` that is submitted afterwards finds the record.
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
    """A submission that ends once Svix has the events, or after a number of seconds."""

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
        """See `Submission.wait`. The events have the ids from Svix."""
        stored = await self._inner.wait()
        with anyio.move_on_after(self._deadline - time.monotonic()):
            pairs = zip(stored, self._outcomes, strict=True)
            accepted = [await self._accepted(event, outcome) for event, outcome in pairs]
            self._returned = True
            return accepted
        self._timed_out = True
        raise BackendUnavailable(
            f"Svix did not accept the event within {self._seconds:g} s. It is kept in memory and forwarded later, "
            "if this process lives that long. If you set `WEBHOOKS_DATABASE` to a file, responses do not wait for Svix."
        )

    async def _accepted(self, event: Event, outcome: Outcome) -> Event:
        if event.id:
            # Svix already has it from an earlier call.
            return event
        await outcome.wait()
        if outcome.refusal is not None:
            code, detail = outcome.refusal
            raise BackendRefused(f"Svix refused the event {event.event_id!r} permanently.", code=code, detail=detail)
        assert outcome.event is not None
        return outcome.event
