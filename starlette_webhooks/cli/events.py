"""`starlette-webhooks events`."""

from __future__ import annotations

import json
from typing import Any

import click

from starlette_webhooks.audit import record
from starlette_webhooks.backends.base import Backend
from starlette_webhooks.cli.auditing import command_actor
from starlette_webhooks.cli.filters import page_options
from starlette_webhooks.cli.output import Output
from starlette_webhooks.cli.target import Target, subcommand
from starlette_webhooks.events import Event, EventQuery, format_time
from starlette_webhooks.exceptions import WebhooksError
from starlette_webhooks.operations import RecentEvents

__all__ = ["events"]

_COLUMNS = {"tenant": "tenant", "id": "event", "eventType": "type", "timestamp": "time", "eventId": "event_id"}


@subcommand
@click.argument("event", metavar="[EVENT]", required=False)
@click.option("--tenant", help="Only of this tenant, by time. Without it, the last committed ones of all tenants.")
@page_options
def events(
    target: Target, output: Output, event: str | None, tenant: str | None, limit: int, cursor: str | None
) -> None:
    """List events, newest first, or show one with its payload."""
    if event is not None:
        _show(target, output, event, tenant)
        return

    async def read(backend: Backend) -> tuple[list[dict[str, Any]], str | None]:
        if tenant is None:
            recent = await backend.recent_events(RecentEvents(limit=limit, cursor=cursor))
            return [one.document() for one in recent.items], recent.next_cursor
        page = await backend.list_events(tenant, EventQuery(limit=limit, cursor=cursor))
        return [_document(one) for one in page.items], page.next_cursor

    output.page("events", *target.operate(read), _COLUMNS)


def _show(target: Target, output: Output, identifier: str, tenant: str | None) -> None:
    async def find(backend: Backend) -> Event | None:
        if tenant is not None:
            return await backend.get_event(tenant, identifier)
        return await backend.find_event(identifier)

    found = target.operate(find)
    if found is None:
        raise WebhooksError(f"There is no event {identifier}.")
    record("payload.read", found.tenant, command_actor(), event=found.id)
    payload = json.loads(found.payload)
    values = {**_document(found), "channels": list(found.channels), "payload": payload}
    head = "\n".join(f"{name:<8}{values[field]}" for field, name in _COLUMNS.items() if values[field])
    output.result(values, f"{head}\n\n{json.dumps(payload, indent=2, ensure_ascii=False)}")


def _document(event: Event) -> dict[str, Any]:
    return {
        "id": event.id,
        "tenant": event.tenant,
        "eventType": event.type,
        "timestamp": format_time(event.timestamp),
        "eventId": event.event_id,
        "test": event.test,
    }
