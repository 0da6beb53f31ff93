"""Hints about commits between processes, by `LISTEN` and `NOTIFY`.

A hint makes other processes check immediately instead of a little later. Hints may be lost, and are not sent while
nobody listens. They are sent at most every 10 milliseconds and outside the commit, because a notification holds a
server-wide lock until its transaction ends.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

import anyio
from anyio import CapacityLimiter, current_time, to_thread

from starlette_webhooks.exceptions import BackendUnavailable
from starlette_webhooks.forks import ProcessName
from starlette_webhooks.log_fields import log_fields
from starlette_webhooks.stores.postgresql.connection import Link
from starlette_webhooks.stores.postgresql.conninfo import ConnectionInfo
from starlette_webhooks.stores.postgresql.database import Database
from starlette_webhooks.stores.postgresql.queries import quote_name

__all__ = ["Hints"]

logger = logging.getLogger("starlette_webhooks")

_SPACING = 0.01
_REGISTER_EVERY = 10.0
_REGISTERED_FOR = 30.0
_PAUSE = 1.0
# A notification has at most 8,000 bytes.
_ENDPOINTS = 300
_MANY = "*"


class Hints:
    """Sends hints after commits of this process, and receives those of others.

    Args:
        info: A direct connection for `LISTEN`, which a pooler does not support. None means not to listen.
        on_hint: Called on the event loop after a commit, with the numbers of endpoints that got deliveries which only
            other processes make. None if there are too many.
    """

    def __init__(
        self, database: Database, info: ConnectionInfo | None, on_hint: Callable[[Iterable[int] | None], None]
    ) -> None:
        self.process = ProcessName()
        self.connected = False
        """Whether hints of other processes arrive."""
        self.watching = False
        """Whether hints about events are wanted, for streams. See `changed`."""
        self._database = database
        self._info = info and replace(info, statement_timeout=database.info.statement_timeout)
        self._on_hint = on_hint
        self._channel = f"starlette_webhooks:{database.schema}"[:63]
        self._endpoints: set[int] = set()
        self._wanted = anyio.Event()
        self._changed = anyio.Event()
        self._queries = database.queries("hints.sql")
        self.tasks = (self.run_sender, self.run_receiver)

    # Sending

    def send(self, endpoints: Iterable[int] = ()) -> None:
        """Schedule a hint about a commit."""
        if len(self._endpoints) <= _ENDPOINTS:
            self._endpoints.update(endpoints)
        self._wanted.set()

    async def run_sender(self) -> None:
        """Send hints forever."""
        while True:
            await self._wanted.wait()
            self._wanted = anyio.Event()
            endpoints, self._endpoints = self._endpoints, set()
            numbers = _MANY if len(endpoints) > _ENDPOINTS else ",".join(map(str, endpoints))
            try:
                await self._database.call(self._queries["hint"], (self._channel, f"{self.process} {numbers}"))
            except BackendUnavailable:  # pragma: no cover  The server must fail between two calls.
                # Other processes also poll.
                continue
            await anyio.sleep(_SPACING)

    # Receiving

    def changed(self, *, watching: bool) -> None:
        """Note that streams were opened, or that the last one has ended."""
        if watching != self.watching:
            self.watching = watching
            self._changed.set()

    async def run_receiver(self) -> None:
        """Listen forever."""
        if self._info is None:
            return
        link = Link(self._info)
        thread = CapacityLimiter(1)
        warned = False
        try:
            while True:
                try:
                    await self._listen(link, thread)
                except BackendUnavailable as exc:
                    if not warned:
                        warned = True
                        logger.warning(
                            "Hints of other processes do not arrive. Polling more often instead. %s",
                            exc,
                            extra=log_fields("hints.unavailable"),
                        )
                finally:
                    self.connected = False
                await anyio.sleep(_PAUSE)
        finally:
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(self._leave, link, limiter=thread)

    async def _listen(self, link: Link, thread: CapacityLimiter) -> None:
        start = partial(link.call, f"LISTEN {quote_name(self._channel)}", deadline=self._deadline())
        await to_thread.run_sync(start, limiter=thread)
        registered = float("-inf")
        while True:
            if self._changed.is_set() or current_time() > registered + _REGISTER_EVERY:
                self._changed = anyio.Event()
                registered = current_time()
                await to_thread.run_sync(self._register, link, limiter=thread)
                self.connected = True
                # There is no hint about earlier commits.
                self._on_hint(())
            for payload in link.notifications():
                self._take(payload)
            await self._readable(link, registered + _REGISTER_EVERY)

    async def _readable(self, link: Link, until: float) -> None:
        with anyio.move_on_after(max(until - current_time(), 0)):
            async with anyio.create_task_group() as tasks:

                async def wait_for_change() -> None:
                    await self._changed.wait()
                    tasks.cancel_scope.cancel()

                tasks.start_soon(wait_for_change)
                await anyio.wait_readable(link.fileno())
                tasks.cancel_scope.cancel()

    def _register(self, link: Link) -> None:
        link.call(
            self._queries["register"], (self.process.text, self.watching, _REGISTERED_FOR), deadline=self._deadline()
        )

    def _leave(self, link: Link) -> None:
        try:
            if link.is_open:
                link.call(self._queries["leave"], (self.process.text,), deadline=self._deadline())
        except BackendUnavailable:
            # The registration expires automatically.
            pass
        finally:
            link.close()

    def _deadline(self) -> float:
        return time.monotonic() + self._database.deadline

    def _take(self, payload: str) -> None:
        sender, _, endpoints = payload.partition(" ")
        if sender != self.process.text:
            self._on_hint(None if endpoints == _MANY else [int(number) for number in endpoints.split(",") if number])
