"""Emitted events: arguments, submitted events, and the events of a request that are not durable yet."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import anyio

from starlette_webhooks.events import Event
from starlette_webhooks.exceptions import WebhooksError
from starlette_webhooks.submissions import Submission

if TYPE_CHECKING:
    from starlette_webhooks.telemetry import Telemetry
    from starlette_webhooks.types import EventData, TenantId, TypedData

__all__ = ["Emission", "Emissions", "NewEvent", "Pending", "Transactional"]

_PENDING = 256


@dataclass(frozen=True, slots=True)
class NewEvent:
    """One event for `Emitter.emit_many`. The fields are the arguments of `Emitter.emit`.

    Attributes:
        event_type: A registered name, or an instance of the class that is the schema of a registered type.
        data: What happened, if `event_type` is a name.
        tenant: The tenant of the event, if it is not the emitter's.
        event_id: Your own key for this event. The same key again is the same event.
        channels: Up to 5 labels that endpoints and streams can filter by.
    """

    event_type: str | TypedData
    data: EventData | None = None
    tenant: TenantId | None = None
    event_id: str | None = None
    channels: Sequence[str] = ()


class Emission:
    """A submitted event. Await it to wait until it is durable, and to get it as stored.

    Awaiting it raises `BackendUnavailable` or `BackendRefused` if the backend did not accept the event. After
    `emit(..., within=...)`, do not await it: the event does not exist before you commit.

    Attributes:
        event: The event. If its `event_id` was used before, awaiting returns the first event instead.
    """

    __slots__ = ("_submission", "event")

    def __init__(self, event: Event, submission: Submission) -> None:
        self.event = event
        self._submission = submission

    def __await__(self) -> Generator[Any, None, Event]:
        return self._wait().__await__()

    async def _wait(self) -> Event:
        return (await self._submission.wait())[0]


class Emissions:
    """Events that were submitted in one commit. Await it to wait until all are durable, and to get them as stored.

    Awaiting it raises the same errors as awaiting an `Emission`.

    Attributes:
        events: The events, in the order given.
    """

    __slots__ = ("_submission", "events")

    def __init__(self, events: Sequence[Event], submission: Submission) -> None:
        self.events = events
        self._submission = submission

    def __await__(self) -> Generator[Any, None, Sequence[Event]]:
        return self._submission.wait().__await__()


class Transactional(Protocol):
    """Events within a transaction of the host. `open` is None if its state cannot be known."""

    @property
    def open(self) -> bool | None:
        """Whether the transaction is still open."""


class Pending(list[Submission]):
    """The submissions of a request that may not be durable yet.

    Attributes:
        events: How many were added since the last flush.
    """

    __slots__ = ("_within", "events", "telemetry")

    def __init__(self) -> None:
        super().__init__()
        self.events = 0
        self._within: list[Transactional] | None = None
        self.telemetry: Telemetry | None = None

    def within(self, written: Transactional) -> None:
        """Add events within a transaction of the host. Does not wait for its commit."""
        if self._within is None:
            self._within = []
        if len(self._within) < _PENDING:
            self._within.append(written)

    @property
    def uncommitted(self) -> bool:
        """Whether an open transaction of the host contains events."""
        return self._within is not None and any(written.open for written in self._within)

    def add(self, submission: Submission, count: int = 1) -> None:
        """Add a submission of so many events."""
        self.events += count
        if len(self) >= _PENDING:
            # The connection emits for a long time without sending anything. Failures must still be reported.
            self[:] = [one for one in self if not one.finished or one.failed]
        self.append(submission)

    async def flush(self) -> None:
        """Wait until all events are durable.

        Raises:
            BackendError: Some events could not be stored.
        """
        if self.telemetry is None or not self.telemetry.active or not self:
            return await self._flush()
        with self.telemetry.committing(self.events):
            await self._flush()

    async def _flush(self) -> None:
        while self:
            submission = self[0]
            try:
                await submission.wait()
            finally:
                # Another task may have flushed in the meantime.
                if submission.finished and self and self[0] is submission:  # pragma: no branch  Two tasks flush.
                    self.pop(0)
        self.events = 0

    async def flush_quietly(self) -> None:
        """Flush while another error is being raised, without replacing that error."""
        with anyio.CancelScope(shield=True):
            while self:
                try:
                    await self.flush()
                except WebhooksError:
                    continue
