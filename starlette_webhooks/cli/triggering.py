"""`starlette-webhooks trigger`."""

from __future__ import annotations

import json
from typing import Any

import click

from starlette_webhooks.cli.output import Output
from starlette_webhooks.cli.remote import remote_command
from starlette_webhooks.cli.tailing import event_values
from starlette_webhooks.client import SyncClient

__all__ = ["trigger"]


def _object(context: click.Context, parameter: click.Parameter, value: str | None) -> dict[str, Any] | None:
    if value is None:
        return None
    try:
        found = json.loads(value)
        # Python reads more than JSON and UTF-8 have.
        json.dumps(found, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError:
        raise click.BadParameter("It contains half of a surrogate pair, such as `\\ud800`.") from None
    except (ValueError, RecursionError) as exc:
        raise click.BadParameter(f"It is not JSON: {exc}.") from exc
    if not isinstance(found, dict):
        raise click.BadParameter("It must be a JSON object.")
    return found


@remote_command
@click.argument("event_type", metavar="TYPE")
@click.option("--data", callback=_object, metavar="JSON", help="The data. By default, the example of the event type.")
@click.option("--endpoint", metavar="ID", help="Deliver it to this endpoint only.")
def trigger(
    client: SyncClient, output: Output, event_type: str, data: dict[str, Any] | None, endpoint: str | None
) -> None:
    """Emit a test event.

    URL is that of the API. The event is marked as a test, and listed, streamed and delivered like any other.
    """
    event = client.test(event_type, data, endpoint=endpoint)
    output.result(event_values(event), f"{event.event_type} {event.id} was emitted.")
