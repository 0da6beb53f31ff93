"""The place of an outbox: its database, and the names of its tables."""

from __future__ import annotations

import os
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from starlette_webhooks.database_url import MEMORY

__all__ = ["Place", "Tables", "place_of", "place_of_url"]

_DIALECTS = {"postgres": "postgresql", "mariadb": "mysql"}
_PORTS = {"postgresql": 5432, "mysql": 3306}


@dataclass(frozen=True, slots=True)
class Place:
    """A database, regardless of driver and user.

    Attributes:
        dialect: `sqlite`, `postgresql` or `mysql`, which MariaDB counts as.
        database: Its name, or the real path of the file. None for a database in memory, which equals no other.
    """

    dialect: str
    host: str = ""
    port: int | None = None
    database: str | None = None

    def __str__(self) -> str:
        if self.dialect == "sqlite":
            return f"the SQLite file {self.database!r}" if self.database else "a SQLite database in memory"
        return f"{self.dialect} at {self.host or 'localhost'}:{self.port}/{self.database}"

    def is_same(self, other: Place) -> bool:
        """Return whether both are the same database, judging by their URLs."""
        return self == other and self.database is not None


def place_of(dialect: str, host: str | None, port: int | None, database: str | None) -> Place:
    """Return the database from the parts of a URL."""
    dialect = _DIALECTS.get(dialect, dialect)
    if dialect == "sqlite":
        in_memory = database in (None, "", MEMORY) or "mode=memory" in str(database) or MEMORY in str(database)
        path = None if in_memory else os.path.realpath(str(database).removeprefix("file:").partition("?")[0])
        return Place("sqlite", database=path)
    return Place(dialect, host or "", port or _PORTS.get(dialect), database or "")


def place_of_url(url: str) -> Place:
    """Return the database of a URL, without SQLAlchemy.

    Raises:
        ValueError: The text is not a URL. The message does not show it, because it may contain a password.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        raise ValueError("Give `Outbox` an engine, or a URL such as `postgresql://user@host/name`.")
    dialect = scheme.partition("+")[0].lower()
    if dialect == "sqlite":
        return place_of("sqlite", None, None, unquote(rest.removeprefix("/").partition("?")[0]))
    netloc, _, path = rest.partition("?")[0].partition("/")
    hosts = netloc.rpartition("@")[2]
    try:
        parts = urlsplit(f"//{hosts}")
        host, port = parts.hostname, parts.port
    except ValueError:
        # Several hosts, as libpq takes them.
        host, port = hosts, None
    return place_of(dialect, host, port, unquote(path))


@dataclass(frozen=True, slots=True)
class Tables:
    """The names of an outbox's tables.

    Attributes:
        schema: Their schema. None in SQLite and MariaDB, unless the host set one.
        name: The table that hosts write to. The names of the others start with it.
    """

    dialect: str
    schema: str | None
    name: str

    @property
    def relay(self) -> str:
        """The name of the table with the relay's lease."""
        return f"{self.name}_relay"

    @property
    def dead_letters(self) -> str:
        """The name of the table of dead letters."""
        return f"{self.name}_dead_letter"

    def quoted(self, name: str) -> str:
        """Return a name quoted for SQL, always with its schema, because of the host's `search_path`."""
        mark = "`" if self.dialect == "mysql" else '"'
        return ".".join(mark + part.replace(mark, mark * 2) + mark for part in (self.schema, name) if part is not None)

    @classmethod
    def of(cls, dialect: str, schema: str | None, name: str | None) -> Tables:
        """Return the default names: `webhooks.outbox` on PostgreSQL, `webhooks_outbox` elsewhere."""
        if dialect == "postgresql":
            return cls(dialect, schema or "webhooks", name or "outbox")
        return cls(dialect, schema, name or "webhooks_outbox")
