"""Notices what other processes commit to the file."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable

import anyio

from starlette_webhooks.problems import Problem
from starlette_webhooks.stores.sqlite.database import Database

__all__ = ["Watcher"]

_PAUSE = 0.5


class Watcher:
    """Calls back after each commit to the file, this process's own included, while somebody wants to know.

    Args:
        changed: Called on the event loop, and once at the start: what was committed before is unknown.
        wanted: Whether anybody wants to know.
        poll: Seconds between two looks. One costs 3 µs, so it is made on the event loop.
    """

    def __init__(
        self, database: Database, changed: Callable[[], None], wanted: Callable[[], bool], *, poll: float
    ) -> None:
        self._database = database
        self._changed = changed
        self._wanted = wanted
        self._poll = poll
        self._wakeup = anyio.Event()
        self._problem = Problem("The database can be watched again.", level=logging.WARNING)

    def wake(self) -> None:
        """Somebody may want to know now."""
        self._wakeup.set()

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            while self._wanted():
                try:
                    await self._watch()
                except sqlite3.Error as exc:
                    self._problem.begin(f"The database cannot be watched for commits of other processes: {exc}.")
                    await anyio.sleep(_PAUSE)
            await self._wakeup.wait()
            self._wakeup = anyio.Event()

    async def _watch(self) -> None:
        connection = self._database.watcher()
        try:
            seen: int | None = None
            while self._wanted():
                (version,) = connection.execute("PRAGMA data_version").fetchone()
                self._problem.end()
                if version != seen:
                    seen = version
                    self._changed()
                await anyio.sleep(self._poll)
        finally:
            connection.close()
