"""The database of a subcommand, and the common options of subcommands."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from starlette_webhooks.cli.output import Output
from starlette_webhooks.database_url import parse_database
from starlette_webhooks.environment import load_settings
from starlette_webhooks.exceptions import WebhooksError
from starlette_webhooks.settings import WebhooksSettings
from starlette_webhooks.stores.administration import Administration
from starlette_webhooks.stores.administrations import administration_of

__all__ = ["Target", "subcommand"]


class Target:
    """The database of `--database`. It is resolved on first use, so that `--help` works without it."""

    def __init__(self, database: str | None) -> None:
        self._database = database

    @property
    def settings(self) -> WebhooksSettings:
        """The settings from the environment, with this database."""
        if not self._database:
            raise click.UsageError("Name the database: `--database PATH_OR_URL`, or `WEBHOOKS_DATABASE`.")
        try:
            parse_database(self._database)
            return load_settings().model_copy(update={"database": self._database})
        except ValueError as exc:
            raise click.UsageError(str(exc)) from exc

    @property
    def administration(self) -> Administration:
        """The administration of the database."""
        try:
            return administration_of(self.settings)
        except ValueError as exc:
            raise click.UsageError(str(exc)) from exc


def subcommand(function: Callable[..., None]) -> click.Command:
    """Declare a subcommand, which receives the `Target` and the `Output`. Prints our errors and exits with status 1."""

    @click.command()
    @click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
    @click.pass_context
    @wraps(function)
    def command(context: click.Context, /, as_json: bool, **options: Any) -> int:
        output = Output(as_json=as_json)
        try:
            function(context.obj, output, **options)
        except WebhooksError as exc:
            output.failure("failed", str(exc))
            return 1
        return 0

    return command
