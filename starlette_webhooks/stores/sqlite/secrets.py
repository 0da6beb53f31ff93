"""Stored secrets in SQLite, and their permanent removal. The functions run on the database's threads."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Generator, Sequence
from contextlib import contextmanager

from starlette_webhooks.encryption import SEALED
from starlette_webhooks.stores.base import Replacement, StoredSecrets
from starlette_webhooks.stores.sqlite.queries import load_queries

__all__ = ["drop_expired", "overwriting", "replace_secrets", "sealing_keys", "stored_secrets"]

_QUERIES = load_queries("secrets.sql")


@contextmanager
def overwriting(connection: sqlite3.Connection) -> Generator[None]:
    """Overwrite with zeros what is deleted or replaced in the block. SQLite leaves it in the file otherwise.

    Only for the block, because it slows down each deletion.
    """
    (before,) = connection.execute("PRAGMA secure_delete").fetchone()
    connection.execute("PRAGMA secure_delete = 1")
    try:
        yield
    finally:
        connection.execute(f"PRAGMA secure_delete = {'FAST' if before == 2 else before}")


def sealing_keys(connection: sqlite3.Connection) -> set[str]:
    """See `SecretStore.sealing_keys`."""
    return {name for (name,) in connection.execute(_QUERIES["sealing_keys"], {"mark": SEALED})}


def stored_secrets(connection: sqlite3.Connection, after: int, limit: int) -> list[StoredSecrets]:
    """See `SecretStore.stored_secrets`."""
    rows = connection.execute(_QUERIES["stored"], (after, limit))
    return [StoredSecrets(no, tenant, json.loads(keys), headers) for no, tenant, keys, headers in rows]


def replace_secrets(connection: sqlite3.Connection, changes: Sequence[Replacement]) -> None:
    """See `SecretStore.replace_secrets`."""
    with overwriting(connection):
        for change in changes:
            values = {"endpoint": change.endpoint, "old": change.old, "new": change.new}
            connection.execute(_QUERIES[f"replace_{change.kind}"], values)


def drop_expired(connection: sqlite3.Connection, now: int) -> int:
    """Remove secrets that are no longer valid. Returns how many."""
    with overwriting(connection):
        return connection.execute(_QUERIES["drop_expired"], (now,)).rowcount
