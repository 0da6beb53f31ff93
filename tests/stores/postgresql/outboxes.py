"""Events that hosts commit in the outbox of the store's own database."""

from __future__ import annotations

import psycopg

from starlette_webhooks.events import Event
from starlette_webhooks.outbox.rows import to_row

__all__ = ["leave_in_outbox"]


def leave_in_outbox(url: str, schema: str, event: Event) -> None:
    """Commit an event as a host in another process does, which tells nobody."""
    row = to_row(event)
    with psycopg.connect(url) as connection:
        connection.execute(
            f"INSERT INTO {schema}.outbox (id, tenant, body) VALUES (%s, %s, %s)", (row.id, row.tenant, row.body)
        )
