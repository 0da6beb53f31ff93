"""Calls the host's `operational` callback with each operational event, in one process at a time.

The position of the last event that was handled is stored, so that a crash repeats one event and skips none.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

import anyio
from anyio import CancelScope

from starlette_webhooks.concurrency import running_beside
from starlette_webhooks.events import Event
from starlette_webhooks.exceptions import BackendError
from starlette_webhooks.feed import CommittedEvents
from starlette_webhooks.forks import ProcessName
from starlette_webhooks.log_fields import log_fields
from starlette_webhooks.operational_events import OPERATIONAL_TYPES

if TYPE_CHECKING:
    from starlette_webhooks.backends.base import Backend
    from starlette_webhooks.settings import WebhooksSettings

__all__ = ["OperationalCallback", "OperationalReader", "make_reader"]

logger = logging.getLogger("starlette_webhooks")

OperationalCallback: TypeAlias = Callable[[Event], Awaitable[None]]
"""Called with each operational event. If it raises, it is called again with the same event."""

_NAME = "operational_reader"
_NAMES = frozenset(event_type.name for event_type in OPERATIONAL_TYPES)
_PAGE = 100
_LONGEST_PAUSE = 60.0


def make_reader(
    callback: OperationalCallback | None, backend: Backend, settings: WebhooksSettings
) -> OperationalReader | None:
    """Return the reader for a callback, or None without one.

    Raises:
        ValueError: There are no operational events to read. The message says what to do.
    """
    if callback is None:
        return None
    if backend.committed is None:
        raise ValueError(
            f"The backend {backend.name!r} does not store operational events. Use the operational webhooks of Svix "
            "instead of `operational`."
        )
    if settings.operator_tenant is None:
        raise ValueError("Set `WEBHOOKS_OPERATOR_TENANT` too: `operational` is called with the events of that tenant.")
    return OperationalReader(backend.committed, settings.operator_tenant, callback)


class _Lost(Exception):
    """Raised if another process has taken over."""

    def __init__(self) -> None:
        super().__init__("Another process has taken over.")


@dataclass(frozen=True, slots=True)
class _State:
    """What the processes share: how far the events were handled, and who handles them until when."""

    position: int = 0
    holder: str = ""
    until: int = 0

    def encode(self) -> bytes:
        return json.dumps(asdict(self)).encode()


class OperationalReader:
    """Reads the operational events in order of commits. One process at a time has the lease.

    Args:
        lease: Seconds after which another process takes over from one that was killed.
        poll: Seconds between two looks for events.
        pause: Seconds before a failed call is repeated. It doubles with each failure, up to a minute.
        patience: Seconds for which the end may wait, so that another process takes over at once.
    """

    def __init__(
        self,
        log: CommittedEvents,
        tenant: str,
        callback: OperationalCallback,
        *,
        lease: float = 15.0,
        poll: float = 1.0,
        pause: float = 1.0,
        patience: float = 1.0,
    ) -> None:
        self._log = log
        self._tenant = tenant
        self._callback = callback
        self._lease_ms = int(lease * 1000)
        self._renew_every = lease / 3
        self._poll = poll
        self._pause = pause
        self._patience = patience
        self._process = ProcessName()
        self._stored = _State()

    async def run(self) -> None:
        """Read while this process has the lease, until cancelled."""
        # Not in the constructor: a forked child would inherit a lock that a task of its parent holds.
        self._writing = anyio.Lock()
        while True:
            try:
                if await self._acquire():
                    await self._hold()
            except (BackendError, _Lost) as exc:
                fields = log_fields("operational.paused")
                logger.info("The callback for operational events is paused: %s", exc, extra=fields)
            await anyio.sleep(self._renew_every)

    async def _acquire(self) -> bool:
        found = _State(**json.loads(await self._log.read_meta(_NAME, _State().encode())))
        now = self._log.now()
        # A lease that ends later than any could was stored while the clock was ahead.
        if found.holder != self._process.text and now < found.until <= now + self._lease_ms:
            return False
        self._stored = found
        try:
            await self._write(found.position)
        except _Lost:
            return False
        return True

    async def _write(self, position: int | None = None) -> None:
        """Store how far the events were handled, and renew the lease."""
        # Shielded, so that what is stored is known.
        with CancelScope(shield=True):
            await self._swap(position, self._lease_ms)

    async def _swap(self, position: int | None, lease_ms: int) -> None:
        # Locked, because the renewal runs beside a call.
        async with self._writing:
            kept = self._stored.position if position is None else position
            state = replace(self._stored, position=kept, holder=self._process.text, until=self._log.now() + lease_ms)
            if not await self._log.swap_meta(_NAME, self._stored.encode(), state.encode()):
                raise _Lost
            self._stored = state

    async def _hold(self) -> None:
        lost = CancelScope()
        try:
            with lost:
                async with running_beside(lambda: self._renew(lost)):
                    await self._read()
        finally:
            await self._leave()

    async def _renew(self, lost: CancelScope) -> None:
        while True:
            await anyio.sleep(self._renew_every)
            try:
                await self._write()
            except (BackendError, _Lost):
                lost.cancel()
                return

    async def _leave(self) -> None:
        # The lease otherwise ends by itself.
        with anyio.move_on_after(self._patience, shield=True), suppress(BackendError, _Lost):
            await self._swap(None, 0)

    async def _read(self) -> None:
        while True:
            entries = await self._log.read_committed(self._tenant, self._stored.position, _PAGE)
            for entry in entries:
                if entry.event.type in _NAMES and not entry.event.test:
                    await self._call(entry.event)
                    await self._write(entry.position)
            if entries and entries[-1].position > self._stored.position:
                await self._write(entries[-1].position)
            if len(entries) < _PAGE:
                await anyio.sleep(self._poll)

    async def _call(self, event: Event) -> None:
        pause = self._pause
        while True:
            try:
                return await self._callback(event)
            except Exception:
                logger.exception(
                    "The callback for operational events failed with %s. It is called again in %g s.",
                    event.id,
                    pause,
                    extra=log_fields("operational.failed", eventId=event.id),
                )
            await anyio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
