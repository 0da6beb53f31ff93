"""The options that choose undelivered deliveries."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar, cast

import click

from starlette_webhooks.events import format_time
from starlette_webhooks.times import parse_time
from starlette_webhooks.undelivered import STATES, UndeliveredQuery, UndeliveredState

__all__ = ["audited_filters", "page_options", "to_query", "undelivered_options"]

F = TypeVar("F", bound=Callable[..., Any])

_CLASSES = ("none", "1xx", "2xx", "3xx", "4xx", "5xx")


def _moment(context: click.Context, parameter: click.Parameter, value: str | None) -> datetime | None:
    """Parse a time with its time zone, as in the HTTP API."""
    try:
        return None if value is None else parse_time(value)
    except ValueError as exc:
        raise click.BadParameter(f"The time {exc}.") from exc


def page_options(function: F) -> F:
    """Add the options of a list."""
    function = click.option("--cursor", help="Continue after a page.")(function)
    return click.option(
        "--limit", type=click.IntRange(1, 250), default=50, show_default=True, help="The size of the page."
    )(function)


def undelivered_options(function: F) -> F:
    """Add the options that filter undelivered deliveries."""
    options = (
        click.option("--tenant", help="Only of this tenant."),
        click.option("--endpoint", metavar="ID", help="Only to this endpoint."),
        click.option("--type", "types", multiple=True, metavar="TYPE", help="Only of this event type. Repeatable."),
        click.option("--state", "states", multiple=True, type=click.Choice(STATES), help="Only these. Repeatable."),
        click.option(
            "--status", type=click.Choice(_CLASSES), help="Only if the last attempt got such a status, or no response."
        ),
        click.option("--after", metavar="TIME", callback=_moment, help="Only events since this time."),
        click.option("--before", metavar="TIME", callback=_moment, help="Only events before this time."),
    )
    for option in reversed(options):
        function = option(function)
    return function


def to_query(
    tenant: str | None,
    endpoint: str | None,
    types: tuple[str, ...],
    states: tuple[str, ...],
    status: str | None,
    after: datetime | None,
    before: datetime | None,
) -> UndeliveredQuery:
    """Return the query that the options describe."""
    return UndeliveredQuery(
        tenant=tenant,
        endpoint_id=endpoint,
        event_types=types,
        states=cast("tuple[UndeliveredState, ...]", states),
        status_code_class=None if status is None else _CLASSES.index(status),
        after=after,
        before=before,
    )


def audited_filters(query: UndeliveredQuery) -> dict[str, str]:
    """Return the filters of a retry for the audit log, as the console writes them, without those that are not set."""
    given = {
        "endpoint": query.endpoint_id,
        "type": ",".join(query.event_types),
        "state": ",".join(query.states),
        "answer": None if query.status_code_class is None else str(query.status_code_class),
        "after": None if query.after is None else format_time(query.after),
        "before": None if query.before is None else format_time(query.before),
    }
    return {name: value for name, value in given.items() if value}
