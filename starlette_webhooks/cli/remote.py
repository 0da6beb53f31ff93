"""Subcommands for customers, which call the HTTP API. Their common options."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import wraps
from typing import Any

import click

from starlette_webhooks.cli.output import Output
from starlette_webhooks.client import ClientError, SyncClient
from starlette_webhooks.exceptions import WebhooksError
from starlette_webhooks.times import parse_time

__all__ = ["filter_options", "local_time", "note_retry", "remote_command"]

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_LONGEST = timedelta(days=100 * 365)
_AGO = re.compile(r"(\d{1,6})([smhd])", re.ASCII)


def _since(context: click.Context, parameter: click.Parameter, value: str | None) -> datetime | None:
    """Parse a time in the past: how long ago, or the time itself."""
    if value is None:
        return None
    match = _AGO.fullmatch(value)
    if match is not None:
        # No event is older than any of these, and Python has no time before the year 1.
        ago = timedelta(**{_UNITS[match[2]]: int(match[1])})
        return datetime.now(UTC) - min(ago, _LONGEST)
    try:
        return parse_time(value)
    except ValueError:
        raise click.BadParameter(
            f"{value!r} is not a time. Use `30s`, `15m`, `1h`, `2d`, or a time such as 2026-11-23T21:50:00Z."
        ) from None


def remote_command(function: Callable[..., None]) -> click.Command:
    """Declare a subcommand that receives a `SyncClient` and the `Output`. Prints our errors and exits with status 1."""

    @click.command()
    @click.argument("url")
    @click.option(
        "--key", envvar="WEBHOOKS_API_KEY", show_envvar=True, required=True, metavar="KEY", help="The API key."
    )
    @click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
    @wraps(function)
    def command(url: str, key: str, as_json: bool, **options: Any) -> int:
        output = Output(as_json=as_json)
        try:
            client = SyncClient(url, key)
        except ValueError as exc:
            raise click.UsageError(str(exc)) from exc
        try:
            with client:
                function(client, output, **options)
        except WebhooksError as exc:
            output.failure(getattr(exc, "code", "") or "failed", str(exc))
            return 1
        except BrokenPipeError:
            # The reader of the output, such as `head`, has ended. Python would complain when it flushes.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        return 0

    return command


def filter_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that filter a stream."""
    options = (
        click.option("--event-type", "event_types", multiple=True, metavar="TYPE", help="Only this type. Repeatable."),
        click.option("--channel", metavar="NAME", help="Only events with this channel."),
        click.option("--since", callback=_since, metavar="TIME", help="Start with stored events: `1h` ago, or a time."),
    )
    for option in reversed(options):
        function = option(function)
    return function


def note_retry(output: Output) -> Callable[[ClientError | None, float], None]:
    """Return a function that notes why a stream has no connection."""

    def note(error: ClientError | None, delay: float) -> None:
        if error is not None:
            output.note(f"{str(error).rstrip('.')}. Connecting again in {delay:.1f} s.")

    return note


def local_time(moment: datetime) -> str:
    """Return a time of day for people."""
    return moment.astimezone().strftime("%H:%M:%S")
