"""Imports everything from another database into an empty schema, all or nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from starlette_webhooks.exceptions import BackendUnavailable
from starlette_webhooks.stores.postgresql.administration import Connection, PostgreSQLAdministration
from starlette_webhooks.stores.postgresql.queries import load_queries, quote_name

__all__ = ["copy_table", "finish", "prepare"]

_FILE = "importing.sql"


def prepare(administration: PostgreSQLAdministration, connection: Connection, *, hour: int) -> None:
    """Lock the schema and check that it is empty. Called within the transaction.

    Args:
        hour: Hourly statistics are copied up to this hour, and counted afterwards.

    Raises:
        BackendUnavailable: The schema contains events or endpoints.
    """
    queries = load_queries(_FILE, administration.schema)
    administration.lock(connection)
    row = connection.execute(queries["is_empty"]).fetchone()
    if row is None or not row[0]:
        raise BackendUnavailable(
            f"The schema {administration.schema!r} at {administration.where} already contains events or endpoints. "
            "Set `WEBHOOKS_DATABASE_SCHEMA` to an empty schema."
        )
    connection.execute(queries["clear"])
    connection.execute(queries["count_from"], (hour,))


def copy_table(
    connection: Connection,
    schema: str,
    table: str,
    columns: Iterable[str],
    rows: Iterable[tuple[Any, ...]],
    copied: Callable[[int], None],
) -> int:
    """Copy the rows of a table. Returns how many.

    Args:
        copied: Called regularly with the number of copied rows.
    """
    target = f"{quote_name(schema)}.{table} ({', '.join(columns)})"
    count = 0
    with connection.cursor() as cursor, cursor.copy(f"COPY {target} FROM STDIN") as copy:
        for row in rows:
            copy.write_row([_without_nul(value) for value in row])
            count += 1
            if count % 1000 == 0:  # pragma: no cover  Needs a thousand rows.
                copied(count)
    copied(count)
    return count


def _without_nul(value: Any) -> Any:
    # A receiver may have sent NUL, which PostgreSQL cannot store.
    return value.replace("\0", "") if isinstance(value, str) and "\0" in value else value


def finish(connection: Connection, schema: str, last: Mapping[str, int]) -> None:
    """Continue numbers where the other database stopped.

    Args:
        last: The last numbers of `event`, `endpoint` and `svix_outbox`.
    """
    queries = load_queries(_FILE, schema)
    connection.execute(queries["number_events"], {"last": last["event"]})
    connection.execute(queries["number_outbox"], {"last": last["svix_outbox"]})
    connection.execute(queries["number_endpoints"], {"last": last["endpoint"]})
    connection.execute(queries["analyze"])
