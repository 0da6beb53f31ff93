"""`starlette-webhooks backup` and `restore`."""

from __future__ import annotations

import os

import click

from starlette_webhooks.audit import record
from starlette_webhooks.cli.auditing import command_actor
from starlette_webhooks.cli.output import Output
from starlette_webhooks.cli.target import Target, subcommand
from starlette_webhooks.stores.sqlite.backup import back_up, restore as restore_file

__all__ = ["backup", "restore"]


@subcommand
@click.argument("copy", metavar="FILE", type=click.Path(dir_okay=False))
def backup(target: Target, output: Output, copy: str) -> None:
    """Copy the SQLite file while your app runs.

    The copy is the state of one moment, and only you can read it: it contains secrets.
    """
    path = str(target.path)
    target.check_exists()
    with output.progress() as progress:
        size = back_up(path, copy, progress)
    record("database.backed_up", "", command_actor(), database=path, file=copy)
    output.result({"file": copy, "bytes": size}, f"Copied {path} to {copy} ({size / 1_048_576:,.1f} MiB).")


@subcommand
@click.argument("copy", metavar="FILE", type=click.Path(dir_okay=False, exists=True))
@click.option("--yes", is_flag=True, help="Do not ask.")
def restore(target: Target, output: Output, copy: str, yes: bool) -> None:
    """Restore a copy that `backup` made. Stop your app first.

    Everything that happened after the backup is lost. Deliveries that were pending in it are made again.
    """
    path = str(target.path)
    if os.path.exists(path):
        output.confirm(f"Replace everything in {path} by {copy}?", yes=yes)
    with output.progress() as progress:
        restore_file(copy, path, progress)
    record("database.restored", "", command_actor(), database=path, file=copy)
    output.result({"file": copy, "database": path}, f"Restored {copy} to {path}. Start your app.")
