"""The relay of the host's own outbox: moves committed events into the backend."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress

import anyio

from starlette_webhooks.events import Event
from starlette_webhooks.exceptions import BackendError, BackendRefused, BackendUnavailable, QueueFull
from starlette_webhooks.log_fields import log_fields
from starlette_webhooks.outbox.connectors import Busy, MissingTable
from starlette_webhooks.outbox.drain import Drain
from starlette_webhooks.outbox.rows import InvalidRow, NewerRow, Row, from_row
from starlette_webhooks.problems import Problem
from starlette_webhooks.relay.wakes import Wakes

__all__ = ["HostRelay"]

logger = logging.getLogger("starlette_webhooks")

_ROWS = 200
_PAUSE = 0.5
_MISSES = 6
# A commit without a hook usually follows soon after the row was written.
_SOON = 0.005
_RENEW_EVERY = 1.0


class HostRelay:
    """Relays while this process has the lease. Before that, another process relays.

    Args:
        send: Passes events to the backend, and returns once it has accepted them.
        mints_ids: Whether the backend uses the ids of the rows.
        on_accepted: Called with events that the backend has accepted.
        poll: Seconds between two checks for commits of other processes.

    Attributes:
        relaying: Whether this process relays.
    """

    def __init__(
        self,
        drain: Drain,
        send: Callable[[Sequence[Event]], Awaitable[object]],
        *,
        mints_ids: bool,
        on_accepted: Callable[[Collection[str]], None],
        poll: float = 0.2,
    ) -> None:
        self._drain = drain
        self._send = send
        self._mints_ids = mints_ids
        self._on_accepted = on_accepted
        self._poll = poll
        self._problem = Problem("Events of the host's outbox are being relayed again.")
        self._wakes = Wakes()
        self.wake = self._wakes.wake
        self._leased_at = float("-inf")
        self._misses = 0
        self.relaying = False

    @property
    def problem(self) -> str | None:
        """Why events are not being moved, or None."""
        return self._problem.text

    async def run(self) -> None:
        """Relay until cancelled."""
        self._wakes.start()
        try:
            while True:
                pause = await self._turn()
                if pause:
                    await self._wakes.wait(pause)
        finally:
            self.relaying = False
            with anyio.CancelScope(shield=True), suppress(BackendError, Busy):
                await self._drain.release()
            with anyio.CancelScope(shield=True):
                await self._drain.close()

    async def _turn(self) -> float:
        """Move a batch. Returns how long to pause."""
        try:
            if anyio.current_time() - self._leased_at >= _RENEW_EVERY:
                if self._misses:
                    await self._drain.check()
                    self._misses = 0
                self.relaying = await self._drain.lease()
                self._leased_at = anyio.current_time()
            if not self.relaying:
                self._problem.end()
                return _PAUSE
            moved = await self._move(await self._drain.read(_ROWS))
            self._problem.end()
        except Busy:
            return _SOON
        except (BackendUnavailable, QueueFull) as exc:
            # The host may create the tables at its own startup, which comes later.
            self._misses = self._misses + 1 if isinstance(exc, MissingTable) else _MISSES
            if self._misses >= _MISSES:
                self._problem.begin(f"Events that were emitted within transactions wait: {exc}")
            self._leased_at = float("-inf")
            await anyio.sleep(_PAUSE)
            return _SOON
        if moved:
            return 0.0
        return _SOON if self._wakes.expected else self._poll

    async def _move(self, rows: Sequence[Row]) -> bool:
        """Move a batch. Returns whether there was anything to move."""
        events: list[tuple[Row, Event]] = []
        for row in rows:
            try:
                events.append((row, from_row(row, mints_ids=self._mints_ids)))
            except NewerRow:
                # Left for a process of that version, which a deployment in progress has.
                continue
            except InvalidRow as exc:
                await self._bury(row, "invalid", str(exc))
        if not events:
            return False
        try:
            await self._forward(events)
        except (BackendUnavailable, QueueFull):
            raise
        except Exception:
            # One of them is at fault, and must not block the others.
            for one in events:
                await self._forward_alone(*one)
        return True

    async def _forward(self, events: Sequence[tuple[Row, Event]]) -> None:
        await self._send([event for _, event in events])
        await self._drain.delete([row.id for row, _ in events])
        self._on_accepted([row.id for row, _ in events])

    async def _forward_alone(self, row: Row, event: Event) -> None:
        try:
            await self._forward([(row, event)])
        except (BackendUnavailable, QueueFull):
            raise
        except BackendRefused as exc:
            await self._bury(row, exc.code, exc.detail or str(exc))
        except Exception as exc:
            fields = log_fields("relay.error", tenant=row.tenant, eventId=row.id)
            logger.exception("The event %s cannot be moved into the backend.", row.id, extra=fields)
            await self._bury(row, type(exc).__name__, str(exc))

    async def _bury(self, row: Row, code: str, detail: str) -> None:
        logger.error(
            "The event %s of tenant %r, emitted within a transaction, was refused and is dead-lettered: %s %s",
            row.id,
            row.tenant,
            code,
            detail,
            extra=log_fields("event.dead_lettered", tenant=row.tenant, eventId=row.id, code=code),
        )
        await self._drain.bury(row, code, detail)
