"""Moves from a SQLite file to PostgreSQL: all or nothing, and never with both in use.

The file is marked before anything is committed in PostgreSQL, so that no app starts with it. Everything is copied in
one transaction, together with the id of the move. After an interruption, the next call knows by this id whether the
transaction was committed, and completes the move.
"""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from starlette_webhooks.exceptions import BackendUnavailable
from starlette_webhooks.stores.moves import META_MOVE_ID, META_MOVED_FROM, META_MOVED_TO
from starlette_webhooks.stores.sqlite.exclusive import opened_alone
from starlette_webhooks.stores.sqlite.export import export, last_number
from starlette_webhooks.stores.sqlite.meta import get_meta, set_meta
from starlette_webhooks.stores.sqlite.migrations import migrate

if TYPE_CHECKING:
    from starlette_webhooks.stores.postgresql.administration import Connection, PostgreSQLAdministration

__all__ = ["Copied", "Moved", "cancel_move", "move"]

_HOUR = 3_600_000
_NUMBERED = ("event", "endpoint", "svix_outbox")

Copied: TypeAlias = Callable[[str, int, int], None]
"""Called with a table, how many of its rows were copied, and how many there are."""


@dataclass(frozen=True, slots=True)
class Moved:
    """What was moved.

    Attributes:
        rows: The number of rows by table.
        before: Whether an earlier call had moved it.
    """

    rows: dict[str, int]
    before: bool = False


def move(path: str, target: PostgreSQLAdministration, copied: Copied) -> Moved:
    """Move everything in a file. The app must be stopped.

    Raises:
        BackendUnavailable: A process has the file open, or the other database cannot be reached or is not empty.
    """
    target.migrate(lambda migration: None)
    with opened_alone(path) as source:
        migrate(source, path)
        move_id = _mark(source, path, target)
        try:
            with target.connected() as connection:
                if target.get_meta(connection, META_MOVED_FROM) == move_id:
                    return Moved({}, before=True)
                with connection.transaction():
                    rows = _copy(source, connection, target, copied)
                    target.set_meta(connection, META_MOVED_FROM, move_id)
        except BackendUnavailable:
            # If it is in doubt whether the transaction was committed, the mark stays and the next call finds out.
            if _is_missing(target, move_id):
                _unmark(source)
            raise
        return Moved(rows)


def _mark(source: sqlite3.Connection, path: str, target: PostgreSQLAdministration) -> bytes:
    moved_to = get_meta(source, META_MOVED_TO)
    if moved_to is not None and moved_to.decode() != target.where:
        raise BackendUnavailable(f"The database {path!r} was moved to {moved_to.decode()} before, not {target.where}.")
    move_id = get_meta(source, META_MOVE_ID) or secrets.token_hex(16).encode()
    source.execute("BEGIN IMMEDIATE")
    set_meta(source, META_MOVED_TO, target.where.encode())
    set_meta(source, META_MOVE_ID, move_id)
    source.execute("COMMIT")
    return move_id


def _unmark(source: sqlite3.Connection) -> None:
    source.execute("BEGIN IMMEDIATE")
    set_meta(source, META_MOVED_TO, None)
    set_meta(source, META_MOVE_ID, None)
    source.execute("COMMIT")


def _is_missing(target: PostgreSQLAdministration, move_id: bytes) -> bool:
    """Return whether it is certain that the move was not committed."""
    try:
        with target.connected() as connection, connection.transaction():
            # Waits for a transaction of ours that may still be running on the server.
            target.lock(connection)
            return target.get_meta(connection, META_MOVED_FROM) != move_id
    except BackendUnavailable:  # pragma: no cover  The server must fail twice.
        return False


def _copy(
    source: sqlite3.Connection, connection: Connection, target: PostgreSQLAdministration, copied: Copied
) -> dict[str, int]:
    from starlette_webhooks.stores.postgresql.importing import copy_table, finish, prepare

    hour = int(time.time() * 1000) // _HOUR * _HOUR
    prepare(target, connection, hour=hour)
    rows: dict[str, int] = {}
    for table in export(source, hour=hour):

        def told(count: int, name: str = table.name, total: int = table.count) -> None:
            copied(name, count, total)

        rows[table.name] = copy_table(connection, target.schema, table.name, table.columns, table.rows, told)
        if rows[table.name] != table.count:  # pragma: no cover  COPY copies all rows or fails.
            raise BackendUnavailable(f"{rows[table.name]} of {table.count} rows of `{table.name}` were copied.")
    finish(connection, target.schema, {name: last_number(source, name) for name in _NUMBERED})
    return rows


def cancel_move(path: str, target: PostgreSQLAdministration) -> bool:
    """Let the app use the file again after an interrupted move. Returns whether there was one.

    Raises:
        BackendUnavailable: The move was completed, or this is unknown.
    """
    with opened_alone(path) as source:
        moved_to, move_id = get_meta(source, META_MOVED_TO), get_meta(source, META_MOVE_ID)
        if moved_to is None or move_id is None:
            return False
        if moved_to.decode() != target.where:
            raise BackendUnavailable(f"The database {path!r} was being moved to {moved_to.decode()}. Name that one.")
        target.migrate(lambda migration: None)
        if not _is_missing(target, move_id):
            raise BackendUnavailable(
                f"The database {path!r} was moved to {target.where}, which contains everything. To go back, drop "
                "that schema first. You lose everything that has happened there since."
            )
        _unmark(source)
        return True
