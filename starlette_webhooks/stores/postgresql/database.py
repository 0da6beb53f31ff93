"""The connections to a PostgreSQL database, and the two threads that commit for all callers."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from typing import Any, TypeVar

import anyio
from anyio import CapacityLimiter, to_thread

from starlette_webhooks.concurrency import run_in_thread
from starlette_webhooks.exceptions import BackendUnavailable, NotRunning
from starlette_webhooks.health import DatabaseHealth
from starlette_webhooks.log_fields import log_fields
from starlette_webhooks.stores.environments import META_ENVIRONMENT, check_environment
from starlette_webhooks.stores.migrations import Migration
from starlette_webhooks.stores.postgresql.availability import Availability
from starlette_webhooks.stores.postgresql.clock import ServerClock
from starlette_webhooks.stores.postgresql.connection import CallFailed, CallLost, Link, Row
from starlette_webhooks.stores.postgresql.conninfo import ConnectionInfo
from starlette_webhooks.stores.postgresql.migrations import check, migrate
from starlette_webhooks.stores.postgresql.queries import load_all_queries

__all__ = ["Database", "Values"]

logger = logging.getLogger("starlette_webhooks")

T = TypeVar("T")
Values = Sequence[Any] | dict[str, Any]

_MEASURE_EVERY = 30.0
_PROBE_EVERY = 0.5
_STARTUP_PAUSE = 0.5
_GIVEN_UP_AFTER = 1.0
# The values of the statement are at fault, another transaction was faster, or the statement took too long. Anything
# else, such as a full disk or a missing privilege, is a problem of the database.
_NO_PROBLEM = ("22", "23", "40", "57014")


class Database:
    """A PostgreSQL database that processes on several machines share.

    Args:
        schema: The schema of the tables.
        connections: The maximum of concurrent calls, besides those that commit events and record attempts.
        deadline: Seconds that a call may take.
        patience: Seconds to wait for an unavailable server at startup.
        migrates: Whether the schema is migrated at startup.
        migrations: The migrations of the package by default.
        environment: The environment of this process. See `check_environment`.
    """

    def __init__(
        self,
        info: ConnectionInfo,
        *,
        schema: str = "webhooks",
        connections: int = 4,
        deadline: float = 5.0,
        patience: float = 30.0,
        migrates: bool = True,
        migrations: Sequence[Migration] | None = None,
        environment: str | None = None,
    ) -> None:
        # A client that is there gives up first, and knows more.
        self.info = replace(info, statement_timeout=deadline + _GIVEN_UP_AFTER)
        self.schema = schema
        self._queries = load_all_queries(schema)
        self.deadline = deadline
        self.clock = ServerClock()
        self.availability = Availability(info.description)
        self.version = ""
        self._connections = connections
        self._patience = patience
        self._migrates = migrates
        self._migrations = migrations
        self._environment = environment
        self._idle: list[Link] = []
        self._slots: CapacityLimiter | None = None

    def queries(self, file: str) -> Mapping[str, Any]:
        """Return the statements of a file, for this schema."""
        return self._queries[file]

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Connect, and migrate the schema.

        Raises:
            BackendUnavailable: The server is unavailable for `patience` seconds, or the schema cannot be used.
        """
        await self._open()
        # Own threads, because those of the host may all be busy.
        self._slots, self._threads = CapacityLimiter(self._connections), CapacityLimiter(self._connections)
        try:
            yield
        finally:
            self._slots = None
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(self._close)

    async def _open(self) -> None:
        end = time.monotonic() + self._patience
        warned = False
        while True:
            try:
                return await to_thread.run_sync(self._prepare)
            except _Away as exc:
                if time.monotonic() >= end:
                    remedy = "Start it, or set `WEBHOOKS_DATABASE` to another one."
                    if self._patience:
                        remedy += f" This process has waited for {self._patience:g} s (`WEBHOOKS_DATABASE_WAIT`)."
                    raise BackendUnavailable(f"{exc} {remedy}") from exc
                if not warned:
                    warned = True
                    logger.warning("Waiting for the database: %s", exc, extra=log_fields("database.waiting"))
            await anyio.sleep(_STARTUP_PAUSE)

    def _prepare(self) -> None:
        link = Link(self.info)
        try:
            try:
                connection = link.connect(time.monotonic() + max(self.deadline, 10))
            except BackendUnavailable as exc:
                raise _Away(str(exc)) from exc
            # Another process may be migrating the schema, or the migration may be large.
            connection.deadline = time.monotonic() + 3600
            (migrate if self._migrates else check)(connection, self.schema, self._migrations)
            self._check_environment(link)
            self.version = ".".join(map(str, divmod(connection.info.server_version, 10_000)))
            self._measure(link)
        except BaseException:
            link.close()
            raise
        self._idle.append(link)

    def _check_environment(self, link: Link) -> None:
        queries = self.queries("meta.sql")
        deadline = time.monotonic() + self.deadline
        rows = link.call(queries["get"], (META_ENVIRONMENT,), deadline=deadline)
        bound = bytes(rows[0][0]) if rows else None
        if check_environment(bound, self._environment, f"the schema {self.schema!r}"):
            assert self._environment is not None
            values = {"name": META_ENVIRONMENT, "value": self._environment.encode()}
            link.call(queries["read"], values, deadline=deadline)

    def _close(self) -> None:
        while self._idle:
            self._idle.pop().close()

    async def supervise(self) -> None:
        """Compare clocks, and try to reach an unavailable server, until cancelled."""
        link = Link(self.info)
        thread = CapacityLimiter(1)
        measure_at = time.monotonic() + _MEASURE_EVERY
        try:
            while True:
                await anyio.sleep(_PROBE_EVERY)
                if self.availability.away:
                    await to_thread.run_sync(self._probe, link, limiter=thread)
                elif time.monotonic() >= measure_at:  # pragma: no cover  Takes minutes.
                    measure_at = time.monotonic() + _MEASURE_EVERY
                    with suppress(BackendUnavailable):
                        await self._run("time", self._measure)
        finally:
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(link.close, limiter=thread)

    def _probe(self, link: Link) -> None:
        statement = self.queries("maintenance.sql")["is_read_only"]
        try:
            ((read_only,),) = link.call(statement, deadline=time.monotonic() + self.deadline)
        except BackendUnavailable as exc:
            self.availability.is_away(str(exc), probed=True)
            return
        if not read_only:
            self.availability.is_there()
        # An open connection would occupy a slot of the server, and with several hosts, the next one may reach another.
        link.close()

    def _measure(self, link: Link) -> None:
        statement = self.queries("maintenance.sql")["time"]

        def ask() -> float:
            ((moment,),) = link.call(statement, deadline=time.monotonic() + self.deadline)
            return float(moment)

        self.clock.measure(ask)

    def health(self, *, hints: bool) -> DatabaseHealth:
        """Return the state of the server, and whether its hints arrive."""
        return {
            "postgresql": self.version,
            "server": self.info.description,
            "schema": self.schema,
            "problem": self.availability.reason,
            "clockAheadMs": round(self.clock.ahead * 1000),
            "hints": hints,
        }

    # Calls

    async def call(self, statement: str, values: Values = ()) -> list[Row]:
        """Execute a statement in its own transaction, and return its rows.

        Raises:
            NotRunning: Outside `lifespan`.
            BackendUnavailable: The server is unavailable, or refuses the statement.
        """
        end = time.monotonic() + self.deadline
        return await self._run(statement, lambda link: link.call(statement, values, deadline=end))

    async def _run(self, what: str, fn: Callable[[Link], T]) -> T:
        slots = self._slots
        if slots is None:
            raise NotRunning
        borrower = object()
        with anyio.move_on_after(self.deadline) as waiting:
            await slots.acquire_on_behalf_of(borrower)
        if waiting.cancelled_caught:  # pragma: no cover  All connections must be busy until the deadline.
            raise BackendUnavailable("All connections to the database are busy. See `WEBHOOKS_DATABASE_CONNECTIONS`.")
        try:
            return await run_in_thread(self._use, what, fn, limiter=self._threads)
        finally:
            slots.release_on_behalf_of(borrower)

    def _use(self, what: str, fn: Callable[[Link], T]) -> T:
        try:
            link = self._idle.pop()
        except IndexError:
            link = Link(self.info)
        try:
            with self.guarding(link, what):
                return fn(link)
        finally:
            self._idle.append(link)

    @contextmanager
    def guarding(self, link: Link, what: str) -> Generator[None]:
        """Use a connection, and learn whether the server is available. Refuse to open one while it is known not to be.

        Args:
            what: Which call this is. See `Availability.has_failed`.

        Raises:
            BackendUnavailable: The server is known to be unavailable.
        """
        if not link.is_open:
            self.availability.check()
        try:
            yield
        except BackendUnavailable as exc:
            self.learn(exc, what)
            raise
        self.availability.is_there(what)

    def learn(self, error: BackendUnavailable, what: str) -> None:
        """Learn from a failed call."""
        if isinstance(error, CallLost):
            # The next call that opens a connection finds out why.
            self.availability.is_silent(error.since)
        elif not isinstance(error, CallFailed) or error.elsewhere:
            self.availability.is_away(str(error))
        elif error.sqlstate and not error.sqlstate.startswith(_NO_PROBLEM):
            self.availability.has_failed(what, str(error))

    def positions_are_taken(self, error: CallFailed, what: str) -> None:
        """Note that events cannot be appended. See `CallFailed.positions_taken`."""
        self.availability.has_failed(what, f"{error} Has a backup been restored over existing tables?")


class _Away(Exception):
    """The server cannot be reached."""
