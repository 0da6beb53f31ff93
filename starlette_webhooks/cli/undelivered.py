"""`starlette-webhooks undelivered` and `retry`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import click

from starlette_webhooks.audit import record
from starlette_webhooks.cli.auditing import command_actor
from starlette_webhooks.cli.filters import audited_filters, page_options, to_query, undelivered_options
from starlette_webhooks.cli.output import Output, counted
from starlette_webhooks.cli.target import Target, subcommand
from starlette_webhooks.operations import COUNTED
from starlette_webhooks.undelivered import Retried, UndeliveredQuery

__all__ = ["retry", "undelivered"]

_COLUMNS = {
    "tenant": "tenant",
    "eventId": "event",
    "eventType": "type",
    "endpointId": "endpoint",
    "state": "state",
    "attempts": "attempts",
    "lastError": "last error",
    "nextAttemptAt": "next attempt",
}


@subcommand
@undelivered_options
@page_options
@click.option("--count", is_flag=True, help="Print only how many there are.")
def undelivered(target: Target, output: Output, limit: int, cursor: str | None, count: bool, **filters: Any) -> None:
    """List deliveries that were never answered with 2xx: exhausted, failing and waiting ones.

    They are sorted by endpoint, then by state, then newest event first.
    """
    query = replace(to_query(**filters), limit=limit, cursor=cursor)
    if count:
        found = target.operate(lambda backend: backend.count_undelivered(query))
        text = counted(found.count, "delivery", limit=None if found.exact else found.count)
        output.result({"count": found.count, "exact": found.exact}, text)
        return
    page = target.operate(lambda backend: backend.find_undelivered(query))
    documents = [{"tenant": one.tenant, **one.document()} for one in page.items]
    for one in documents:
        one["lastError"] = one["error"] or (str(one["statusCode"]) if one["attempts"] else "")
    output.page("undelivered", documents, page.next_cursor, _COLUMNS)


@subcommand
@undelivered_options
@click.option("--yes", is_flag=True, help="Do not ask.")
def retry(target: Target, output: Output, yes: bool, **filters: Any) -> None:
    """Retry exhausted and failing deliveries now.

    Counts them first, and asks. Deliveries to disabled endpoints are left out: enable them first. An app that delivers
    must be running.
    """
    query = to_query(**filters)
    query = replace(query, states=tuple(state for state in query.states or ("exhausted", "failing")))
    if "waiting" in query.states:
        raise click.UsageError("Deliveries that are waiting need no retry: they are due, or will be soon.")
    found = target.operate(lambda backend: backend.count_undelivered(query))
    what = counted(found.count, "delivery", limit=None if found.exact else COUNTED)
    if found.count:
        output.confirm(f"Retry {what}?", yes=yes)
    retried = Retried()
    if found.count:
        # Before, because it may be interrupted.
        record("deliveries.retried", query.tenant or "", command_actor(), **audited_filters(query))
        retried = _retry(target, output, query, found.count)
    text = f"{counted(retried.queued, 'delivery')} {'is' if retried.queued == 1 else 'are'} due now."
    if retried.disabled:
        text += f" {counted(retried.disabled, 'delivery')} to disabled endpoints left out."
    output.result({"queued": retried.queued, "disabled": retried.disabled}, text)


def _retry(target: Target, output: Output, query: UndeliveredQuery, total: int) -> Retried:
    with output.progress() as progress:

        def told(done: Retried) -> None:
            progress("Retrying", done.queued + done.disabled, max(total, done.queued + done.disabled))

        return target.operate(lambda backend: backend.retry_undelivered(query, on_progress=told))
