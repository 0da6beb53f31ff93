"""`starlette-webhooks adopt`."""

from __future__ import annotations

import click

from starlette_webhooks.cli.output import Output, counted
from starlette_webhooks.cli.target import Target, subcommand

__all__ = ["adopt"]


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
