"""`starlette-webhooks listen`."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import click

from starlette_webhooks.cli.catching_up import CatchingUp
from starlette_webhooks.cli.forwarding import FOREVER, Forwarder, check_target
from starlette_webhooks.cli.listen_state import ListenState, default_path
from starlette_webhooks.cli.output import Output
from starlette_webhooks.cli.remote import filter_options, note_retry, remote_command
from starlette_webhooks.cli.tailing import follow
from starlette_webhooks.client import Event, SyncClient
from starlette_webhooks.signing import parse_secret

__all__ = ["forward_options", "listen", "state_path"]


def _retries(context: click.Context, parameter: click.Parameter, value: str) -> int:
    if value == "forever":
        return FOREVER
    if not (value.isascii() and value.isdigit()):
        raise click.BadParameter(f"{value!r} is neither a number nor `forever`.")
    return int(value)


def _secret(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None:
        try:
            parse_secret(value)
        except ValueError as exc:
            raise click.BadParameter(str(exc)) from exc
    return value


def forward_options(function: Any) -> Any:
    """Add the options for forwarding."""
    options = (
        click.option("--secret", callback=_secret, metavar="SECRET", help="Signs what is forwarded. Generated once."),
        click.option("--state", type=click.Path(path_type=Path, dir_okay=False), help="The file to remember it in."),
        click.option(
            "--timeout", type=click.FloatRange(0.1, 600), default=30.0, show_default=True, help="Seconds to answer."
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


def state_path(state: Path | None, forward_to: str) -> Path:
    """Return the file with the position and the secret for this target."""
    parameters = click.get_current_context().params
    return state or default_path(parameters["url"], parameters["key"], forward_to)


@remote_command
@click.option(
    "--forward-to",
    callback=check_target,
    required=True,
    metavar="URL",
    help="Where to post events, such as your app on localhost.",
)
@filter_options
@click.option(
    "--retries",
    callback=_retries,
    default="0",
    show_default=True,
    metavar="N",
    help="How often to post an event again if your app answers with an error: a number, or `forever`.",
)
@forward_options
@click.option("--no-state", is_flag=True, help="Remember nothing.")
@click.option("--restart", is_flag=True, help="Start again, now or at `--since`, and not after the last event.")
def listen(
    client: SyncClient,
    output: Output,
    forward_to: str,
    event_types: tuple[str, ...],
    channel: str | None,
    since: datetime | None,
    retries: int,
    secret: str | None,
    state: Path | None,
    timeout: float,
    no_state: bool,
    restart: bool,
) -> None:
    """Forward events to an app on your machine, signed like deliveries, in order and without loss.

    URL is that of the API, such as https://example.com/api/v1/webhooks. When you run the command again, it continues
    after the last event that it forwarded. While your app is not running, it waits.
    """
    path = None if no_state else state_path(state, forward_to)
    with (
        ListenState(path, secret=secret) as position,
        Forwarder(forward_to, position.secret, output, retries=retries, timeout=timeout) as forwarder,
    ):
        after = None if restart else position.last_event_id
        events = client.stream(
            after=after,
            since=None if after else since,
            event_types=event_types,
            channel=channel,
            on_retry=note_retry(output),
        )
        catching_up = CatchingUp(
            output, lambda: next(iter(client.list(event_types=event_types, channel=channel)), None)
        )
        # What is being forwarded must not count as forwarded.
        idle = True

        def handle(event: Event) -> None:
            nonlocal idle
            idle = False
            catching_up.forwarding(event)
            forwarder.forward(event, done=lambda: position.save(event.id))
            idle = True
            catching_up.forwarded(event)

        with events:
            position.save(events.last_event_id)
            _greet(output, forward_to, position, resumes=after is not None)
            try:
                follow(events, output, handle)
            finally:
                output.status("")
                if idle:
                    # With a filter, the stream has moved past other events.
                    position.save(events.last_event_id)


def _greet(output: Output, forward_to: str, position: ListenState, *, resumes: bool) -> None:
    values = {"forwardTo": forward_to, "secret": position.secret, "resumedAfter": None}
    text = f"Forwarding events to {forward_to}. The secret is {position.secret}"
    if resumes:
        values["resumedAfter"] = position.last_event_id
        text += f"\nContinuing after {position.last_event_id}. To start again, pass `--restart`."
    output.result(values, f"{text}\nPress Ctrl-C to stop.")
