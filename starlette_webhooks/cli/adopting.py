"""`starlette-webhooks adopt` and `adopt-outbox`."""

from __future__ import annotations

import click

from starlette_webhooks.audit import record
from starlette_webhooks.backends.base import Backend
from starlette_webhooks.cli.auditing import command_actor
from starlette_webhooks.cli.output import Output, counted
from starlette_webhooks.cli.target import Target, subcommand
from starlette_webhooks.outbox.drain import Drain

__all__ = ["adopt", "adopt_outbox"]


@subcommand
@click.option(
    "--environment",
    envvar="WEBHOOKS_ENVIRONMENT",
    show_envvar=True,
    metavar="NAME",
    help="The new environment of the database. None by default.",
)
@click.option("--keep", is_flag=True, help="Keep pending deliveries and enabled endpoints.")
def adopt(target: Target, output: Output, environment: str | None, keep: bool) -> None:
    """Assign a copy of another environment's database to this environment.

    Drops pending deliveries and disables all endpoints, so that no customer is called from this environment. Enable the
    endpoints that you need in the portal or with the HTTP API.
    """
    administration = target.administration
    adopted = administration.adopt(environment or None, keep=keep)
    details = {"environment": environment or "", "previous": adopted.before or ""}
    record("database.adopted", "", command_actor(), database=administration.where, **details)
    belongs = f"belongs to {environment!r} now" if environment else "belongs to no environment now"
    before = "" if adopted.before is None else f"; before, to {adopted.before!r}"
    dropped = ""
    if not keep:
        dropped = (
            f" Disabled {counted(adopted.endpoints, 'endpoint')}, dropped {counted(adopted.deliveries, 'delivery')}."
        )
    values = {
        "environment": environment or None,
        "before": adopted.before,
        "endpoints": adopted.endpoints,
        "deliveries": adopted.deliveries,
    }
    output.result(values, f"{administration.where} {belongs}{before}.{dropped}")


@subcommand
def adopt_outbox(target: Target, output: Output) -> None:
    """Have the events of your app's outbox go to its new backend, after a move between backends. Needs `--app`.

    Run it once no process moves events into the old backend any more. Those that wait go to the new one.
    """
    outbox = target.webhooks.outbox
    own = target.webhooks.backend.outbox
    if outbox is None or (own is not None and outbox.is_same(own)):
        raise click.UsageError("The app has no outbox in a database of its own: `Webhooks(outbox=...)`.")

    async def adopt(backend: Backend) -> bool:
        drain = Drain(outbox, log=await backend.log_name())
        try:
            return await drain.adopt()
        finally:
            await drain.close()

    changed = target.operate(adopt)
    if changed:
        record("outbox.adopted", "", command_actor(), database=str(outbox.place))
    text = f"Events of the outbox in {outbox.place} go to the backend of the app{' now' if changed else ' already'}."
    output.result({"outbox": str(outbox.place), "changed": changed}, text)
