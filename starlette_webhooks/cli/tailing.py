"""`starlette-webhooks tail`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

import click

from starlette_webhooks.cli.output import Output
from starlette_webhooks.cli.remote import filter_options, local_time, note_retry, remote_command
from starlette_webhooks.client import Event, Gap, SyncClient
from starlette_webhooks.events import format_time

__all__ = ["event_values", "follow", "tail"]


@remote_command
@filter_options
def tail(
    client: SyncClient, output: Output, event_types: tuple[str, ...], channel: str | None, since: datetime | None
) -> None:
    """Print events as they happen, until you interrupt it.

    URL is that of the API, such as https://example.com/api/v1/webhooks.
    """
    with client.stream(event_types=event_types, channel=channel, since=since, on_retry=note_retry(output)) as events:
        output.note("Waiting for events. Press Ctrl-C to stop.")
        follow(events, output, lambda event: print_event(event, output))


def follow(events: Iterable[Event], output: Output, handle: Callable[[Event], None]) -> None:
    """Handle all events of a stream, and print its gaps."""
    while True:
        try:
            for event in events:
                handle(event)
            return
        except Gap as exc:
            gap = {"requested": exc.requested, "oldest": exc.oldest}
            output.result({"gap": gap}, click.style(f"Events are missing. {exc}", fg="yellow"))


def print_event(event: Event, output: Output) -> None:
    """Print an event."""
    data = json.dumps(event.payload.get("data"), ensure_ascii=False)
    kind = click.style(event.event_type, bold=True)
    output.result(event_values(event), f"{local_time(event.timestamp)}  {kind}  {event.id}  {data}")


def event_values(event: Event) -> dict[str, Any]:
    """Return an event as the API lists it."""
    values = {
        "id": event.id,
        "eventType": event.event_type,
        "payload": event.payload,
        "timestamp": format_time(event.timestamp),
    }
    return {**values, "test": True} if event.test else values
