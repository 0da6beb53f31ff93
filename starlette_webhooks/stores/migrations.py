"""Migrations of a store's schema. All stores share this code.

Migrations only go forward. Each one only adds to the schema, so that processes of the previous version continue to work
beside those of the new one. A later version removes what is no longer used.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import TypeAlias

from starlette_webhooks.exceptions import BackendUnavailable

__all__ = ["Applied", "Installed", "Migration", "missing_migrations", "outdated", "read_migrations"]

_INDEXES = "indexes.sql"
_HEADER = re.compile(r"-- Works with version (\d+) and later\.")


@dataclass(frozen=True, slots=True)
class Migration:
    """A step to the next version of a schema.

    Attributes:
        version: The resulting version of the schema.
        works_with: The oldest schema version whose code works with the result.
        indexes: Statements that build indexes afterwards, without blocking writers. For PostgreSQL only.
    """

    version: int
    works_with: int
    script: str = field(repr=False)
    indexes: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Installed:
    """The schema version of a database. 0 means that there is no schema."""

    version: int = 0
    works_with: int = 0


Applied: TypeAlias = Callable[[Migration], None]
"""Called after each applied migration."""


def read_migrations(package: str) -> tuple[Migration, ...]:
    """Return the migrations of a store in order. Each is a file `NNNN.sql`, or a directory with `tables.sql` first.

    `indexes.sql` in it is kept apart. If the first line is not `-- Works with version N and later.`, no older version
    works with the result.
    """
    directory = files(package).joinpath("migrations")
    found = {int(name): one for one in directory.iterdir() if (name := one.name.removesuffix(".sql")).isdigit()}
    return tuple(_migration(version, found[version]) for version in sorted(found))


def _migration(version: int, found: Traversable) -> Migration:
    script = _script(found)
    header = _HEADER.match(script)
    return Migration(version, version if header is None else int(header[1]), script, _indexes(found))


def _script(found: Traversable) -> str:
    if found.is_file():
        return found.read_text("utf-8")
    parts = [part for part in found.iterdir() if part.name.endswith(".sql") and part.name != _INDEXES]
    parts.sort(key=lambda part: (part.name != "tables.sql", part.name))
    return "\n".join(part.read_text("utf-8") for part in parts)


def _indexes(found: Traversable) -> str:
    file = found.joinpath(_INDEXES)
    return file.read_text("utf-8") if found.is_dir() and file.is_file() else ""


def missing_migrations(migrations: Sequence[Migration], installed: Installed, where: str) -> Sequence[Migration]:
    """Return the migrations that a database lacks.

    Args:
        where: The database, for messages.

    Raises:
        BackendUnavailable: The schema is from a newer version of the package, and this one does not work with it.
    """
    known = migrations[-1].version
    if installed.works_with > known:
        raise BackendUnavailable(
            f"A newer version of starlette_webhooks made {where} (schema {installed.version}), which works with schema "
            f"{installed.works_with} and later; this version has {known}. Upgrade the package."
        )
    return [one for one in migrations if one.version > installed.version]


def outdated(migrations: Sequence[Migration], installed: Installed, where: str) -> BackendUnavailable:
    """Return the error for a database that lacks migrations which this process must not apply."""
    needs = f"this version of starlette_webhooks needs schema {migrations[-1].version}"
    has = f"has schema {installed.version}" if installed.version else "has no tables yet"
    return BackendUnavailable(
        f"{where[0].upper()}{where[1:]} {has}, and {needs}. Run `starlette-webhooks migrate`, or set "
        "`WEBHOOKS_MIGRATE=true`."
    )
