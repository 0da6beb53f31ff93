"""Named SQL: in the package's `.sql` files, `-- name: x` precedes each statement."""

from __future__ import annotations

from importlib.resources import files

__all__ = ["read_queries", "substitute"]

_MARK = "-- name:"


def read_queries(package: str, file: str) -> dict[str, str]:
    """Return the statements of a `.sql` file by name.

    Raises:
        ValueError: Two statements have the same name.
    """
    queries: dict[str, str] = {}
    for part in files(package).joinpath(file).read_text("utf-8").split(_MARK)[1:]:
        name, _, statement = part.partition("\n")
        if name.strip() in queries:
            raise ValueError(f"{file} names {name.strip()!r} twice.")
        queries[name.strip()] = statement.strip().rstrip(";")
    return queries


def substitute(statement: str, **parts: str) -> str:
    """Replace each `{name}` of a statement with SQL. Never use it for values, which are bound as parameters.

    Raises:
        ValueError: The statement has no such mark.
    """
    for name, part in parts.items():
        mark = f"{{{name}}}"
        if mark not in statement:
            raise ValueError(f"The statement has no {mark}.")
        statement = statement.replace(mark, part)
    return statement
