"""`starlette-webhooks move`."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import click

from starlette_webhooks.audit import record
from starlette_webhooks.cli.auditing import command_actor
from starlette_webhooks.cli.output import Output, counted
from starlette_webhooks.cli.target import Target, subcommand
from starlette_webhooks.stores.moving import cancel_move, move as move_file

if TYPE_CHECKING:
    from starlette_webhooks.stores.postgresql.administration import PostgreSQLAdministration

__all__ = ["move"]


@subcommand
@click.option("--from", "file", required=True, metavar="PATH", help="The SQLite file.")
@click.option("--cancel", is_flag=True, help="Let the app use the file again after an interrupted move.")
def move(target: Target, output: Output, file: str, cancel: bool) -> None:
    """Move everything from a SQLite file to a PostgreSQL database.

    Stop the app first. `--database` is the PostgreSQL database. Either everything is moved or nothing: if the command
    is interrupted, run it again. The app no longer starts with the file.
    """
    if target.settings.database_url.dialect != "postgresql":
        raise click.UsageError("`--database` names the PostgreSQL database to move to, and `--from` the file.")
    administration = cast("PostgreSQLAdministration", target.administration)
    if cancel:
        found = cancel_move(file, administration)
        if found:
            record("database.move_canceled", "", command_actor(), database=administration.where, file=file)
        text = f"The app may use {file} again." if found else f"No move of {file} was interrupted."
        output.result({"canceled": found}, text)
        return
    with output.progress() as progress:
        moved = move_file(file, administration, progress)
    if moved.before:
        text = f"{file} was moved to {administration.where} before."
    else:
        record("database.moved", "", command_actor(), database=administration.where, file=file)
        events, endpoints = counted(moved.rows["event"], "event"), counted(moved.rows["endpoint"], "endpoint")
        deliveries = counted(moved.rows["delivery"], "pending delivery")
        text = f"Moved {events}, {endpoints} and {deliveries} to {administration.where}."
    text += f"\nStart the app with `WEBHOOKS_DATABASE` set to it. {file} still contains secrets: remove it."
    output.result({"rows": moved.rows, "movedBefore": moved.before}, text)
