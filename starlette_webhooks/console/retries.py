"""Retries in the background. Their progress is stored, so that every process of the host can show it."""

from __future__ import annotations

import json
import logging
import secrets
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Literal, Self, TypeAlias

import anyio
from starlette.responses import Response

from starlette_webhooks.concurrency import running_beside
from starlette_webhooks.console.html import Child, tag
from starlette_webhooks.console.layout import page
from starlette_webhooks.console.parts import card, counted, link_button, notice
from starlette_webhooks.console.visit import Visit
from starlette_webhooks.exceptions import Conflict, NotFound, NotSupported, WebhooksError
from starlette_webhooks.feed import CommittedEvents
from starlette_webhooks.log_fields import log_fields
from starlette_webhooks.undelivered import Retried, UndeliveredQuery

__all__ = ["show_retry", "start_retry"]

logger = logging.getLogger("starlette_webhooks")

State: TypeAlias = Literal["running", "done", "failed", "stopped"]

_PLACES = tuple(f"console/retry/{number}" for number in range(8))
"""The names of the values. Their number bounds how many retries run at once, and how many are remembered."""
_REPORT_EVERY = 1.0
_LAST_REPORT = 5.0
_SILENT = 30.0
"""Seconds without a report after which a process is considered dead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Progress:
    """The progress of a retry. It names no tenant, because it stays after a tenant is erased."""

    id: str
    operator: str
    total: int
    queued: int = 0
    disabled: int = 0
    state: State = "running"
    reported: float

    def alive(self, now: float) -> bool:
        return self.state == "running" and abs(now - self.reported) < _SILENT

    def encode(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, value: bytes) -> Self:
        return cls(**json.loads(value))


async def start_retry(visit: Visit, query: UndeliveredQuery, *, total: int) -> str:
    """Start a retry and return its id.

    Raises:
        Conflict: Too many retries are running.
        NotSupported: The backend stores no deliveries.
    """
    log = visit.backend.committed
    if log is None:
        raise NotSupported
    progress = _Progress(id=secrets.token_hex(8), operator=visit.operator.name, total=total, reported=visit.clock())
    place = await _take_place(log, progress)
    visit.start(partial(_Retry(visit, place, progress).run, query))
    return progress.id


async def _take_place(log: CommittedEvents, progress: _Progress) -> str:
    """Store the progress of a new retry where none is running, and return the name of that value."""
    known = await log.find_meta(_PLACES)
    mine = progress.encode()
    for place in _PLACES:
        # Another retry, perhaps of another process, may take the same place at this moment.
        if place not in known and await log.read_meta(place, mine) == mine:
            return place
    earlier = sorted((_Progress.decode(value).reported, place, value) for place, value in known.items())
    for _, place, value in earlier:
        if not _Progress.decode(value).alive(progress.reported) and await log.swap_meta(place, value, mine):
            return place
    raise Conflict("Too many retries are running. Wait until one of them has ended.", code="retry_running")


class _Retry:
    """A retry that runs, and that reports its progress every second."""

    def __init__(self, visit: Visit, place: str, progress: _Progress) -> None:
        self._backend = visit.backend
        self._clock = visit.clock
        self._place = place
        self._progress = progress

    async def run(self, query: UndeliveredQuery) -> None:
        """Retry what a query matches."""
        state: State = "stopped"
        try:
            async with running_beside(self._report):
                await self._backend.retry_undelivered(query, on_progress=self._note)
            state = "done"
        except Exception:
            logger.exception("A retry of undelivered deliveries failed.", extra=log_fields("retry.failed"))
            state = "failed"
        finally:
            await self._end(state)

    async def _end(self, state: State) -> None:
        # The process may be stopping. Its database is open a little longer.
        with anyio.move_on_after(_LAST_REPORT, shield=True):
            try:
                await self._store(state)
            except WebhooksError as exc:
                fields = log_fields("retry.not_stored")
                logger.warning("The end of a retry could not be stored: %s", exc, extra=fields)

    def _note(self, done: Retried) -> None:
        self._progress = replace(self._progress, queued=done.queued, disabled=done.disabled)

    async def _report(self) -> None:
        while True:
            await anyio.sleep(_REPORT_EVERY)
            await self._store("running")

    async def _store(self, state: State) -> None:
        self._progress = replace(self._progress, state=state, reported=self._clock())
        await self._backend.meta.write_meta(self._place, self._progress.encode())


async def show_retry(visit: Visit) -> Response:
    """Show the progress of a retry."""
    known = await visit.backend.meta.find_meta(_PLACES)
    found = next((one for one in map(_Progress.decode, known.values()) if one.id == visit.params[0]), None)
    if found is None:
        raise NotFound("There is no such retry, or later ones have replaced it.")
    alive = found.alive(visit.clock())
    seen = found.queued + found.disabled
    total = max(found.total, seen)
    meter: Child = tag("progress", class_="meter", aria_label="Progress", value=seen, max=max(total, 1))
    if found.state == "done":
        meter = None
    queued = f"{counted(found.queued, 'delivery', 'deliveries')} queued."
    disabled = f" {found.disabled:,} left out, because their endpoints are disabled." if found.disabled else ""
    return page(
        visit,
        "Retry",
        _outcome(found.state, alive=alive),
        card(f"Started by {found.operator}", meter, tag("p", queued + disabled)),
        above=("Undelivered", visit.link("undelivered")),
        actions=link_button("Reload", visit.link("retries", found.id)) if alive else None,
        live=alive,
    )


def _outcome(state: State, *, alive: bool) -> Child:
    if alive:
        return notice("warn", "Running. You may leave this page.")
    if state == "done":
        return notice("good", "Done. What was queued is being delivered.")
    if state == "failed":
        return notice("bad", "It failed. See the log of the app, then retry what is left.")
    return notice("bad", "The process that ran it has stopped. Retry what is left.")
