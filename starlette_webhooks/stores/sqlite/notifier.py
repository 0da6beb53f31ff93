"""Notifies the tail and the dispatcher of commits: of this process immediately, of others within 20 ms."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import anyio

from starlette_webhooks.database_url import MEMORY
from starlette_webhooks.delivery.store import DeliveryListener
from starlette_webhooks.exceptions import BackendUnavailable
from starlette_webhooks.problems import Problem
from starlette_webhooks.stores.sqlite import deliveries
from starlette_webhooks.stores.sqlite.database import Database
from starlette_webhooks.stores.sqlite.insertion import Inserted, Queued
from starlette_webhooks.stores.sqlite.queries import load_queries
from starlette_webhooks.stores.sqlite.recording import Recorded
from starlette_webhooks.stores.sqlite.redelivery import Resent
from starlette_webhooks.stores.sqlite.telling import Told
from starlette_webhooks.stores.tail import Tail
from starlette_webhooks.stores.writes import Write

__all__ = ["Notifier"]

_QUERIES = load_queries("deliveries.sql")
_PAUSE = 0.5


class Notifier:
    """Follows the commits of a file while there are listeners. Used on the event loop only.

    Args:
        now: Milliseconds since the epoch.
        poll: Seconds between two checks for commits of other processes. A check takes some microseconds, so it runs on
            the event loop.

    Attributes:
        listener: Who is notified of new deliveries.
    """

    def __init__(self, database: Database, tail: Tail, now: Callable[[], int], *, poll: float) -> None:
        self._database = database
        self._tail = tail
        self._now = now
        self._poll = poll
        self._wakeup = anyio.Event()
        self._last_delivery: int | None = None
        self._problem = Problem("The database can be watched again.", level=logging.WARNING)
        self.listener: DeliveryListener | None = None

    def listen(self, listener: DeliveryListener | None) -> None:
        """Notify this listener of deliveries from now on."""
        self.listener = listener
        self._last_delivery = None
        self.wake()

    def wake(self) -> None:
        """Note that there may be a new listener."""
        self._wakeup.set()

    # Commits of this process

    def committed(self, writes: Sequence[Write[Any]]) -> None:
        """Called after each commit."""
        results = [write.result for write in writes if write.error is None]
        inserted = [result for result in results if isinstance(result, Inserted)]
        self._publish(inserted)
        if self.listener is None:
            return
        due, urgent = self._queued(inserted)
        urgent.update((result.endpoint, None) for result in results if isinstance(result, Resent))
        if urgent:
            self.listener.wake_urgent(urgent)
        if due:
            self.listener.wake(due)
        if any(isinstance(result, Recorded) or (isinstance(result, Told) and result.any_events) for result in results):
            # Endpoints of the tenant or of the operator may subscribe to the events about it.
            self.listener.wake(())

    def _publish(self, inserted: Iterable[Inserted]) -> None:
        if not self._tail.following:
            return
        entries = [entry for one in inserted for entry in one.entries]
        if entries:
            self._tail.committed(entries)
        elif self._database.path == MEMORY:
            # A write may have inserted more than its result says.
            self._tail.wake()

    def _queued(self, inserted: Iterable[Inserted]) -> tuple[dict[int, None], dict[int, None]]:
        """Return the endpoints that got deliveries, and those that got urgent ones."""
        due: dict[int, None] = {}
        urgent: dict[int, None] = {}
        seen: Sequence[Queued] = ()
        for one in inserted:
            # Insertions by the same statements share `queued`.
            if one.queued is seen:
                continue
            seen = one.queued
            for queued in seen:
                (urgent if queued.urgent else due).update(dict.fromkeys(queued.endpoints))
                if queued.first - 1 == self._last_delivery:
                    self._last_delivery = queued.last
        return due, urgent

    # Commits of other processes

    async def run(self) -> None:
        """Check for commits until cancelled."""
        while True:
            while self._wanted:
                try:
                    await self._follow()
                except (sqlite3.Error, BackendUnavailable) as exc:  # pragma: no cover  The file must become unreadable.
                    self._problem.begin(f"The database cannot be watched for commits of other processes: {exc}.")
                    await anyio.sleep(_PAUSE)
            await self._wakeup.wait()
            self._wakeup = anyio.Event()

    @property
    def _wanted(self) -> bool:
        return self._tail.watching or self.listener is not None

    async def _follow(self) -> None:
        # A separate connection, to which this process's own commits are visible too.
        connection = self._database.watcher()
        try:
            version: int | None = None
            while self._wanted:
                (current,) = connection.execute("PRAGMA data_version").fetchone()
                self._problem.end()
                if current != version:
                    version = current
                    self._tail.wake()
                    await self._look_for_deliveries(connection)
                await anyio.sleep(self._poll)
        finally:
            connection.close()

    async def _look_for_deliveries(self, connection: sqlite3.Connection) -> None:
        listener = self.listener
        if listener is None:
            return
        last, urgent = connection.execute(_QUERIES["is_there_news"]).fetchone()
        if self._last_delivery is None:
            # Earlier commits are unknown.
            self._last_delivery = last
            listener.wake(())
        elif last > self._last_delivery or urgent:
            news = await self._database.read(partial(deliveries.news, after=self._last_delivery, now=self._now()))
            self._last_delivery = news.last
            if news.urgent:
                listener.wake_urgent(news.urgent)
            if news.endpoints:
                listener.wake(news.endpoints)
