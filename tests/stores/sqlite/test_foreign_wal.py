"""Files that are damaged or of another program, next to a `-wal`: nothing is refused by mistake."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest

from starlette_webhooks.receiving.sqlite import SQLiteSeenIds
from starlette_webhooks.stores.sqlite.database import Database
from starlette_webhooks.stores.sqlite.lineage import check_wal, read_file, read_wal

SIZE = 512
SALT = b"saltsalt"
MARK = b"commits:abc"


def wal_of(path: Path, *pages: bytes) -> str:
    """Write a `-wal` with these pages, each of which ends a commit. Returns the path of its file."""
    header = bytes.fromhex("377f0682") + bytes(4) + SIZE.to_bytes(4) + bytes(4) + SALT + bytes(8)
    frames = [(1).to_bytes(4) + (1).to_bytes(4) + SALT + bytes(8) + page.ljust(SIZE, b"\0") for page in pages]
    path.with_name(f"{path.name}-wal").write_bytes(header + b"".join(frames))
    return str(path)


def leaf(*records: bytes, varint: bytes = b"\x01") -> bytes:
    """A leaf page of a table with these records."""
    cells, at = b"", 100
    pointers = []
    for record in records:
        pointers.append(at + len(cells))
        cells += bytes([len(record)]) + varint + record
    head = b"\x0d" + bytes(2) + len(records).to_bytes(2) + bytes(3)
    return (head + b"".join(one.to_bytes(2) for one in pointers)).ljust(at, b"\0") + cells + MARK


def counter(name: bytes = MARK, number: int = 7) -> bytes:
    """A record of `sqlite_sequence`: two columns, a text and an integer."""
    return bytes([3, 13 + 2 * len(name), 1]) + name + bytes([number])


@pytest.mark.parametrize(
    "page",
    [b"\x05" + bytes(20) + MARK, leaf(), leaf(b"\x02\x01\x05"), leaf(counter(b"another"))],
    ids=["inner page", "free space", "other columns", "other table"],
)
def test_text_that_looks_like_a_counter_is_none(tmp_path: Path, page: bytes) -> None:
    assert read_wal(wal_of(tmp_path / "a.db", page)) is None


@pytest.mark.parametrize("varint", [b"\x01", b"\x81\x01", b"\xff" * 9], ids=["short", "two bytes", "nine bytes"])
def test_a_counter_is_found_however_its_row_is_numbered(tmp_path: Path, varint: bytes) -> None:
    found = read_wal(wal_of(tmp_path / "a.db", leaf(counter(b"other"), counter(), varint=varint)))
    assert found is not None
    assert (found[0], found[1].number) == (found[1], 7)


async def test_a_file_whose_checkpoint_was_interrupted_is_left_to_sqlite(tmp_path: Path) -> None:
    path, left = tmp_path / "a.db", tmp_path / "left.db"
    async with (database := Database(str(path))).lifespan():
        await database.write(lambda connection: connection.execute("INSERT INTO meta VALUES ('a', 'b')"))
        for end in ("", "-wal"):
            shutil.copyfile(f"{path}{end}", f"{left}{end}")
    assert read_wal(str(left)) is not None
    content = bytearray(left.read_bytes())
    content[100:4096] = b"\xff" * 3996
    left.write_bytes(content)
    check_wal(str(left))


def test_a_file_that_cannot_be_opened_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        read_file(str(tmp_path))


async def test_seen_ids_are_not_kept_in_a_file_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("Not a database. " * 500)
    seen = SQLiteSeenIds(path)
    with pytest.raises(sqlite3.DatabaseError, match="not a database"):
        await seen.begin("msg_1", now=0.0, until=60.0)
    await seen.aclose()
    assert path.read_text().startswith("Not a database.")
