"""`DatabaseURL`, the parsed value of `WEBHOOKS_DATABASE`: a SQLite file or a PostgreSQL database."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["MEMORY", "DatabaseURL", "parse_database"]

MEMORY = ":memory:"
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://", re.ASCII)
_REMEDY = "Give a path, `sqlite:///webhooks.db`, or `postgresql://user@host/name`."


@dataclass(frozen=True, slots=True)
class DatabaseURL:
    """A SQLite file or a PostgreSQL database.

    Attributes:
        dialect: Which of the two.
        location: The path of the file, or `:memory:`. For PostgreSQL, the connection string, including the password.
    """

    dialect: Literal["sqlite", "postgresql"]
    location: str = field(repr=False)

    @property
    def path(self) -> str:
        """The path of the SQLite file, or `:memory:`.

        Raises:
            ValueError: The database is a PostgreSQL database.
        """
        if self.dialect != "sqlite":
            raise ValueError("`WEBHOOKS_DATABASE` names a PostgreSQL database. Give the path of a SQLite file here.")
        return self.location


def parse_database(text: str) -> DatabaseURL:
    """Parse a path or a URL by the rules of SQLAlchemy: `sqlite:///relative.db`, `sqlite:////absolute.db`.

    Raises:
        ValueError: The URL names another kind of database, or has no path.
    """
    found = _SCHEME.match(text)
    if found is None:
        return DatabaseURL("sqlite", text)
    # Hosts have the URL for SQLAlchemy at hand, and the driver in it says nothing about ours.
    scheme = found[1].lower().partition("+")[0]
    rest = text[found.end() :]
    if scheme in ("postgresql", "postgres"):
        return DatabaseURL("postgresql", f"postgresql://{rest}")
    if scheme == "sqlite":
        return DatabaseURL("sqlite", _sqlite_path(rest))
    raise ValueError(f"there is no backend for `{scheme}:`. {_REMEDY}")


def _sqlite_path(rest: str) -> str:
    if not rest:
        return MEMORY
    path = rest.removeprefix("/")
    if path == rest or not path:
        raise ValueError(
            "a SQLite URL has three slashes and a path: `sqlite:///webhooks.db`, `sqlite:////data/webhooks.db`"
        )
    if "?" in path:
        raise ValueError("SQLite URLs cannot have parameters here. Remove the `?` and everything after it")
    return path
