"""Writes rows with connections of SQLAlchemy Core, and checks connections of SQLAlchemy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from sqlalchemy import TwoPhaseTransaction, event

from starlette_webhooks.outbox.rows import Row
from starlette_webhooks.outbox.writing import Written, refuse

if TYPE_CHECKING:
    from sqlalchemy import Connection, Table

__all__ = ["check_transaction", "write_connection"]

_ROWS = 5000
_REMEDY = 'Use an engine or a connection whose `isolation_level` is not "AUTOCOMMIT".'


def check_transaction(connection: Connection, table: Table) -> None:
    """Check that a row will be part of a transaction of the host, in the table of the outbox.

    Raises:
        RuntimeError: It will not. The message says what to do.
    """
    options = connection.get_execution_options()
    if options.get("isolation_level") == "AUTOCOMMIT" or _commits_by_itself(connection):
        refuse(_REMEDY)
    if table.schema in (options.get("schema_translate_map") or {}):
        raise RuntimeError(
            f"The `schema_translate_map` of this connection changes the schema of the outbox, "
            f"{table.schema!r}. Give the outbox a schema that is not in the map: `Outbox(engine, schema=...)`."
        )


def _commits_by_itself(connection: Connection) -> bool:
    # Without a statement, unlike `get_isolation_level()`, which would ask the server.
    driver: Any = connection.connection.dbapi_connection
    if connection.dialect.name == "sqlite":
        alone = driver.isolation_level is None or getattr(driver, "autocommit", None) is True
        real = getattr(driver, "driver_connection", driver)
        return alone and not real.in_transaction
    if hasattr(driver, "get_autocommit"):
        return bool(driver.get_autocommit())
    return getattr(driver, "autocommit", False) is True


def write_connection(
    connection: Connection, table: Table, check: Callable[[Connection], None], rows: Sequence[Row], written: Written
) -> None:
    """Insert rows with a connection, and follow its transaction.

    Args:
        check: Called with the connection before inserting.
    """
    if connection.dialect.name == "sqlite" and not connection.in_transaction():
        # Hosts may begin SQLite's transactions in an event of the engine, which the first statement triggers.
        connection.exec_driver_sql("SELECT 1")
    check(connection)
    values = [{"id": row.id, "tenant": row.tenant, "body": row.body} for row in rows]
    for start in range(0, len(values), _ROWS):
        connection.execute(table.insert().values(values[start : start + _ROWS]))
    follower = _followers.get(connection)
    if follower is None:
        follower = _followers[connection] = _Follower(connection)
    follower.add(connection, written)


class _Follower:
    """Follows the transactions of a connection.

    Attributes:
        waiting: What was written in the transaction, and the number of savepoints within the one of the write.
    """

    def __init__(self, connection: Connection) -> None:
        self.waiting: list[tuple[Written, int]] = []
        event.listen(connection, "commit", self._committed)
        event.listen(connection, "rollback", self._rolled_back)
        event.listen(connection, "savepoint", self._savepoint)
        event.listen(connection, "release_savepoint", self._released)
        event.listen(connection, "rollback_savepoint", self._rolled_back_to)
        self._in_two_phases = False

    def add(self, connection: Connection, written: Written) -> None:
        if not self._in_two_phases and isinstance(connection.get_transaction(), TwoPhaseTransaction):
            self._in_two_phases = True
            event.listen(connection, "commit_twophase", self._committed)
            event.listen(connection, "rollback_twophase", self._rolled_back)
        # It stays open until one of the hooks says otherwise.
        written.is_open = _yes
        self.waiting.append((written, 0))

    def _committed(self, *_: object) -> None:
        waiting, self.waiting = self.waiting, []
        for written, _depth in waiting:
            written.committed()

    def _rolled_back(self, *_: object) -> None:
        waiting, self.waiting = self.waiting, []
        for written, _depth in waiting:
            written.rolled_back()

    def _savepoint(self, _: object, __: object) -> None:
        self.waiting = [(written, depth + 1) for written, depth in self.waiting]

    def _released(self, _: object, __: object, ___: object) -> None:
        # Writes in the released savepoint now belong to the one around it.
        self.waiting = [(written, max(depth - 1, 0)) for written, depth in self.waiting]

    def _rolled_back_to(self, _: object, __: object, ___: object) -> None:
        for written, depth in self.waiting:
            if depth == 0:
                written.rolled_back()
        self.waiting = [(written, depth - 1) for written, depth in self.waiting if depth]


def _yes() -> bool:
    return True


_followers: WeakKeyDictionary[Connection, _Follower] = WeakKeyDictionary()
