"""Named SQL: in the package's `.sql` files, `-- name: x` precedes each statement."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from importlib.resources import files
from types import MappingProxyType
from typing import Any

_MARK = "-- name:"


def read_sql(file: str, package: str = "starlette_webhooks.stores.sqlite") -> str:
    """Return the text of a `.sql` file of the package."""
    return files(package).joinpath(file).read_text("utf-8")


def load_queries(file: str, package: str = "starlette_webhooks.stores.sqlite") -> Mapping[str, str]:
    """Return the statements of a `.sql` file by name."""
    queries: dict[str, str] = {}
    for part in read_sql(file, package).split(_MARK)[1:]:
        name, _, statement = part.partition("\n")
        if name.strip() in queries:
            raise ValueError(f"{file} names {name.strip()!r} twice.")
        queries[name.strip()] = statement.strip().rstrip(";")
    return MappingProxyType(queries)


def substitute(statement: str, **parts: str) -> str:
    """Replace each `{name}` of a statement with SQL. Never use it for values, which are bound as parameters."""
    for name, part in parts.items():
        mark = f"{{{name}}}"
        if mark not in statement:
            raise ValueError(f"The statement has no {mark}.")
        statement = statement.replace(mark, part)
    return statement


def in_one_row(connection: sqlite3.Connection, statement: str, values: Sequence[Any] | Mapping[str, Any]) -> list[Any]:
    """Return the rows of a statement that returns them as one JSON array.

    For many rows in a transaction: SQLite's module releases the interpreter's lock for each row. While the event loop
    is busy, each release costs a switch between the threads.
    """
    ((text,),) = connection.execute(statement, values)
    rows: list[Any] = json.loads(text)
    return rows
