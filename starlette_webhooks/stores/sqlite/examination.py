"""Checks the installation of a SQLite file. See `Administration.examine`."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing

from starlette_webhooks.exceptions import BackendUnavailable
from starlette_webhooks.stores.findings import Finding, check_free_space
from starlette_webhooks.stores.sqlite.migrations import check
from starlette_webhooks.stores.sqlite.opening import check_for_damage, check_ownership, connect_to_read

__all__ = ["examine"]

_SECONDS = 60.0
_WAL_RESET_FIXED = (3, 51, 3)
_LARGE_WAL = 268_435_456


def examine(path: str) -> Iterator[Finding]:
    """Yield what is found. Ends early if the rest depends on it."""
    location = os.path.realpath(path)
    yield _version()
    if not os.path.exists(location):
        yield Finding("file", "problem", f"There is no database at {path}. Your app creates it when it starts.")
        return
    yield from _permissions(location)
    yield check_free_space(location, os.path.getsize(location))
    yield _wal(location)
    try:
        check_for_damage(location, seconds=_SECONDS)
        yield Finding("integrity", "ok", "The file is not damaged, as far as it was checked within a minute.")
        with closing(connect_to_read(location, busy_seconds=5)) as connection:
            check_ownership(connection, path)
            found = check(connection, path)
        yield Finding("schema", "ok", f"The schema has version {found.version}.")
    except BackendUnavailable as exc:
        yield Finding("database", "problem", str(exc))
    except sqlite3.Error as exc:
        yield Finding("database", "problem", f"The database {path!r} cannot be read: {exc}.")


def _version() -> Finding:
    text = f"SQLite {sqlite3.sqlite_version}."
    if sqlite3.sqlite_version_info < _WAL_RESET_FIXED:
        return Finding("sqlite", "note", f"{text} Versions before 3.51.3 have a rare fault in WAL mode: upgrade it.")
    return Finding("sqlite", "ok", text)


def _permissions(location: str) -> Iterator[Finding]:
    for name in (location, f"{location}-wal", f"{location}-shm", f"{location}-lock"):
        if os.path.exists(name):
            yield _permission(name)
    if not os.access(os.path.dirname(location), os.W_OK):
        text = f"This user cannot write to the directory of {location}, which SQLite needs for the `-wal`."
        yield Finding("directory", "problem", text)


def _permission(name: str) -> Finding:
    found = os.stat(name)
    mode = stat.S_IMODE(found.st_mode)
    if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO) and not name.endswith("-lock"):
        others = "All users" if mode & stat.S_IRWXO else "Users of its group"
        text = f"{others} can access {name} (mode {mode:o}), which contains secrets. Run `chmod 600` on it."
        return Finding("mode", "problem" if mode & stat.S_IRWXO else "note", text)
    if not os.access(name, os.R_OK | os.W_OK):
        return Finding("mode", "problem", f"This user cannot read and write {name}. Run the command as your app does.")
    return Finding("mode", "ok", f"{name} has mode {mode:o}.")


def _wal(location: str) -> Finding:
    try:
        size = os.path.getsize(f"{location}-wal")
    except OSError:
        size = 0
    text = f"The `-wal` has {size / 1_048_576:,.1f} MiB."
    if size > _LARGE_WAL:
        text += " A program that keeps a transaction open on the file keeps it from shrinking."
        return Finding("wal", "problem", text)
    return Finding("wal", "ok", text)
