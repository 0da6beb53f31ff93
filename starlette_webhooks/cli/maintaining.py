"""`starlette-webhooks erase`, `prune` and `sync`."""

from __future__ import annotations

import click

from starlette_webhooks.audit import record
from starlette_webhooks.cli.auditing import command_actor
from starlette_webhooks.cli.output import Output, counted
from starlette_webhooks.cli.target import Target, subcommand

__all__ = ["erase", "prune", "sync"]


@subcommand
@click.argument("tenant")
@click.option("--yes", is_flag=True, help="Do not ask.")
def erase(target: Target, output: Output, tenant: str, yes: bool) -> None:
    """Remove everything that is stored for a tenant: events, endpoints and attempts.

    Events that wait in an outbox in a database of your own are not removed: call `webhooks.erase` in your app.
    """
    target.check_exists()
    output.confirm(f"Remove all events, endpoints and attempts of the tenant {tenant!r} forever?", yes=yes)
    target.operate(lambda backend: backend.erase(tenant))
    record("tenant.erased", tenant, command_actor())
    output.result({"erased": tenant}, f"Nothing is stored for the tenant {tenant!r} any more.")


@subcommand
def prune(target: Target, output: Output) -> None:
    """Remove events older than `WEBHOOKS_RETENTION_DAYS` now. Your app does this every hour."""
    days = target.settings.retention_days
    target.operate(lambda backend: backend.prune())
    record("events.pruned", "", command_actor(), days=f"{days:g}")
    output.result({"retentionDays": days}, f"Events older than {days:g} days are removed, unless they are pending.")


@subcommand
def sync(target: Target, output: Output) -> None:
    """Register the event types of your app with the backend. Needs `--app`. Only Svix stores event types."""
    event_types = target.webhooks.event_types
    found = target.operate(lambda backend: backend.sync(event_types))
    values = {
        "created": list(found.created),
        "updated": list(found.updated),
        "unchanged": list(found.unchanged),
    }
    parts = [f"{len(names)} {what}" for what, names in values.items()]
    output.result(values, f"{counted(len(list(event_types)), 'event type')}: {', '.join(parts)}.")
