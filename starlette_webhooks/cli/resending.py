"""`starlette-webhooks resend`."""

from __future__ import annotations

from pathlib import Path

import click

from starlette_webhooks.cli.forwarding import Forwarder, check_target
from starlette_webhooks.cli.listen_state import ListenState
from starlette_webhooks.cli.listening import forward_options, state_path
from starlette_webhooks.cli.output import Output
from starlette_webhooks.cli.remote import remote_command
from starlette_webhooks.client import ClientError, SyncClient

__all__ = ["resend"]


class ForwardFailed(ClientError):
    """Raised when an app does not accept an event."""

    message = "The app did not accept the event."


@remote_command
@click.argument("event_id", metavar="ID")
@click.option("--endpoint", "endpoints", multiple=True, metavar="ID", help="Deliver it to this endpoint. Repeatable.")
@click.option(
    "--forward-to",
    callback=check_target,
    metavar="URL",
    help="Post it to this URL instead, signed as by `listen`.",
)
@forward_options
def resend(
    client: SyncClient,
    output: Output,
    event_id: str,
    endpoints: tuple[str, ...],
    forward_to: str | None,
    secret: str | None,
    state: Path | None,
    timeout: float,
) -> None:
    """Send an event again, to endpoints or to an app on your machine.

    URL is that of the API. ID is that of the event. Without options, your only endpoint receives it.
    """
    if forward_to is None:
        for endpoint in endpoints or _only_endpoint(client):
            client.resend(event_id, endpoint)
            output.result({"id": event_id, "endpointId": endpoint}, f"{event_id} is sent to {endpoint} again.")
        return
    if endpoints:
        raise click.UsageError("Pass either `--endpoint` or `--forward-to`.")
    event = client.get(event_id)
    secret = secret or ListenState.saved_secret(state_path(state, forward_to))
    if secret is None:
        raise click.UsageError("`listen` has not forwarded to this URL yet. Pass `--secret`.")
    with Forwarder(forward_to, secret, output, timeout=timeout, waits=False) as forwarder:
        if not forwarder.forward(event).ok:
            raise ForwardFailed(f"{forward_to} did not accept {event_id}.")


def _only_endpoint(client: SyncClient) -> tuple[str]:
    found = [endpoint.id for endpoint in client.endpoints()]
    if len(found) != 1:
        known = f"They are {', '.join(found[:10])}." if found else "There is none."
        raise click.UsageError(f"Name the endpoint: `--endpoint ID`. {known}")
    return (found[0],)
