"""The SQL of this store: named statements for the schema in the settings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType

from starlette_webhooks.named_sql import read_queries

__all__ = ["load_all_queries", "load_queries", "qualify", "quote_name"]

_PACKAGE = "starlette_webhooks.stores.postgresql"
# The files are written for this schema.
_SCHEMA = re.compile(r"\bwebhooks\.")


def quote_name(schema: str) -> str:
    """Return a name quoted for SQL."""
    return '"' + schema.replace('"', '""') + '"'


def qualify(sql: str, schema: str) -> str:
    """Return SQL for another schema than `webhooks`."""
    return _SCHEMA.sub(lambda _: quote_name(schema) + ".", sql)


@cache
def load_queries(file: str, schema: str) -> Mapping[str, str]:
    """Return the statements of a `.sql` file by name."""
    queries = read_queries(_PACKAGE, file)
    return MappingProxyType({name: qualify(statement, schema) for name, statement in queries.items()})


def load_all_queries(schema: str) -> Mapping[str, Mapping[str, str]]:
    """The statements of all `.sql` files, by file. On the event loop, reading one when it is needed would block."""
    names = (file.name for file in files(_PACKAGE).iterdir() if file.name.endswith(".sql"))
    return MappingProxyType({name: load_queries(name, schema) for name in names})
