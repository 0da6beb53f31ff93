"""Checks whether a database file and the `-wal` beside it belong together.

If a backup is copied over the file, it is mixed with the `-wal` of the old file, which SQLite does not notice. Each
commit therefore increments a counter that contains the name of its database. The file shows the last commit that a
checkpoint has copied into it, and the `-wal` shows the commits that it contains. They belong together if no commit is
missing between the two.

The counter is a row of `sqlite_sequence`, where SQLite stores the last row numbers of tables. Most commits write its
page anyway.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from starlette_webhooks.exceptions import BackendUnavailable
from starlette_webhooks.stores.sqlite.queries import load_queries

__all__ = ["Commit", "begin_counting", "check_wal", "count_commit", "read_file", "read_wal"]

_QUERIES = load_queries("lineage.sql")
_COUNT = _QUERIES["count"]
_PREFIX = b"commits:"

# https://sqlite.org/fileformat.html, sections 1.6, 2.1 and 4.1.
_WAL_MAGIC = (0x377F0682, 0x377F0683)
_WAL_HEADER = 32
_FRAME_HEADER = 24
_TABLE_LEAF = 0x0D
_TWO_COLUMNS = b"\x03"
_INTEGER_BYTES = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}


class Commit(NamedTuple):
    """A commit of a database."""

    database: str
    number: int


def begin_counting(connection: sqlite3.Connection) -> Commit:
    """Start counting commits if necessary. Returns the last one."""
    connection.execute(_QUERIES["begin"])
    return Commit(*connection.execute(_QUERIES["commit"]).fetchone())


def count_commit(connection: sqlite3.Connection) -> None:
    """Count the commit that ends the open transaction."""
    connection.execute(_COUNT)


def check_wal(path: str) -> None:
    """Refuse a file with the `-wal` of another one. Nothing may write meanwhile.

    Raises:
        BackendUnavailable: They do not belong together.
    """
    held = read_wal(path)
    if held is None:
        return
    first, last = held
    try:
        there = read_file(path) or Commit(first.database, 0)
    except sqlite3.Error:
        # A checkpoint was interrupted and must be repeated. A backup can be read without the `-wal`.
        return
    if there.database != first.database or not first.number - 1 <= there.number <= last.number:
        raise BackendUnavailable(
            f"The database {path!r} was replaced, for example by a backup, and '{path}-wal' belongs to the old file. "
            f"Stop all processes that use it, remove '{path}-wal' and '{path}-shm', and start again."
        )


def read_file(path: str) -> Commit | None:
    """Return the last commit in the file itself, without its `-wal`. None if none was counted yet.

    Raises:
        sqlite3.Error: The file cannot be read.
    """
    # Immutable, so that SQLite ignores the `-wal`. Closing it does not release the locks of other connections.
    connection = sqlite3.connect(f"{Path(path).as_uri()}?immutable=1", uri=True, isolation_level=None)
    try:
        row = connection.execute(_QUERIES["commit"]).fetchone()
    except sqlite3.OperationalError as exc:
        if "no such table" in str(exc):  # An empty file.
            return None
        raise
    finally:
        connection.close()
    return None if row is None else Commit(*row)


def read_wal(path: str) -> tuple[Commit, Commit] | None:
    """Return the first and the last counted commit in the `-wal` of a file. None if there is none."""
    first = last = current = None
    for page, ends in _pages(f"{path}-wal"):
        if _PREFIX in page:
            current = _commit_in(page) or current
        if ends and current is not None:
            first, last = first or current, current
    return None if first is None or last is None else (first, last)


def _pages(path: str) -> Iterator[tuple[bytes, bool]]:
    """Yield the pages of a `-wal`, each with whether a commit ends with it."""
    if not os.path.exists(path):
        return
    with open(path, "rb") as file:
        header = file.read(_WAL_HEADER)
        if int.from_bytes(header[:4]) not in _WAL_MAGIC:
            return
        size, salt = int.from_bytes(header[8:12]), header[16:24]
        while len(frame := file.read(_FRAME_HEADER + size)) == _FRAME_HEADER + size:
            # Pages with another salt are from before the last checkpoint.
            if frame[8:16] != salt:
                return
            yield frame[_FRAME_HEADER:], frame[4:8] != bytes(4)


def _commit_in(page: bytes) -> Commit | None:
    """Return the counter in a page of `sqlite_sequence`, or None for any other page."""
    if page[0] != _TABLE_LEAF:
        return None
    for cell in range(int.from_bytes(page[3:5])):
        start = int.from_bytes(page[8 + 2 * cell : 10 + 2 * cell])
        # After the length of the record and the number of the row: the length of its header, and the types of columns.
        record = page[_after_varint(page, _after_varint(page, start)) :]
        if record[:1] != _TWO_COLUMNS or not record[3:].startswith(_PREFIX):
            continue
        end = 3 + (record[1] - 13) // 2
        size = _INTEGER_BYTES.get(record[2], 0)
        # Types 8 and 9 are the numbers 0 and 1 themselves.
        number = int.from_bytes(record[end : end + size]) if size else record[2] - 8
        return Commit(record[3:end].decode("ascii", "replace"), number)
    return None


def _after_varint(page: bytes, start: int) -> int:
    for end in range(start + 1, start + 9):
        if page[end - 1] < 0x80:
            return end
    return start + 9
