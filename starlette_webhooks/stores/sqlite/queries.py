"""The SQL of this store."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from importlib.resources import files
from types import MappingProxyType
from typing import Any

from starlette_webhooks.named_sql import read_queries


def read_sql(file: str, package: str = "starlette_webhooks.stores.sqlite") -> str:
    """Return the text of a `.sql` file of the package."""
    return files(package).joinpath(file).read_text("utf-8")


def load_queries(file: str, package: str = "starlette_webhooks.stores.sqlite") -> Mapping[str, str]:
    """Return the statements of a `.sql` file by name."""
    return MappingProxyType(read_queries(package, file))


def in_one_row(connection: sqlite3.Connection, statement: str, values: Sequence[Any] | Mapping[str, Any]) -> list[Any]:
    """Return the rows of a statement that returns them as one JSON array.

    For many rows in a transaction: SQLite's module releases the interpreter's lock for each row. While the event loop
    is busy, each release costs a switch between the threads.
    """
    ((text,),) = connection.execute(statement, values)
    rows: list[Any] = json.loads(text)
    return rows
