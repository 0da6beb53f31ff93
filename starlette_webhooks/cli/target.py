"""The database of a subcommand, and the common options of subcommands."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import anyio
import click

from starlette_webhooks.applications import Webhooks
from starlette_webhooks.backends import default_backend
from starlette_webhooks.backends.base import Backend
from starlette_webhooks.cli.output import Output
from starlette_webhooks.database_url import MEMORY, parse_database
from starlette_webhooks.environment import load_settings
from starlette_webhooks.event_types import EventTypes
from starlette_webhooks.exceptions import WebhooksError
from starlette_webhooks.settings import WebhooksSettings
from starlette_webhooks.stores.administration import Administration
from starlette_webhooks.stores.administrations import administration_of

__all__ = ["FOUND_PROBLEMS", "Target", "subcommand"]

FOUND_PROBLEMS = 3
"""The exit status of a subcommand that has looked and found something wrong."""

T = TypeVar("T")


class Target:
    """The database of `--database` or `--app`. It is resolved on first use, so that `--help` works without it."""

    def __init__(self, database: str | None, app: str | None = None) -> None:
        self._database = database
        self._app = app

    @property
    def has_app(self) -> bool:
        """Whether there is an `--app`."""
        return self._app is not None

    @property
    def webhooks(self) -> Webhooks:
        """The object that `--app` names."""
        if self._app is None:
            raise click.UsageError("Name your app: `--app module:webhooks`.")
        module, _, name = self._app.partition(":")
        # As servers do: the command is started where the app is.
        if "" not in sys.path:
            sys.path.insert(0, "")
        try:
            found: Any = import_module(module)
            for part in name.split("."):
                found = getattr(found, part)
        except (ImportError, AttributeError, ValueError) as exc:
            raise click.UsageError(f"`--app {self._app}` cannot be imported: {exc}") from exc
        if not isinstance(found, Webhooks):
            raise click.UsageError(f"`--app {self._app}` is not a `Webhooks` object.")
        return found

    @property
    def settings(self) -> WebhooksSettings:
        """The settings of the app, or those from the environment with the database of `--database`."""
        if self._app is not None:
            return self.webhooks.settings
        if not self._database:
            raise click.UsageError(
                "Name the database: `--database PATH_OR_URL`, or `WEBHOOKS_DATABASE`. Or name your app: "
                "`--app module:webhooks`."
            )
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

    @property
    def path(self) -> Path:
        """The SQLite file."""
        found = self.settings.database_url
        if found.dialect != "sqlite" or found.path == MEMORY:
            raise click.UsageError("This works on a SQLite file. For PostgreSQL, use its own tools.")
        return Path(found.path)

    def check_exists(self) -> None:
        """Refuse a SQLite file that does not exist: opening it would create it."""
        found = self.settings.database_url
        if found.dialect == "sqlite":
            if found.path == MEMORY:
                raise click.UsageError("A database in memory belongs to its process. Name a file or another database.")
            if not Path(found.path).exists():
                raise click.UsageError(f"There is no database at {found.path}.")

    def operate(self, function: Callable[[Backend], Awaitable[T]]) -> T:
        """Call a function with the backend. It runs beside the app, delivers nothing and migrates nothing."""
        self.check_exists()
        event_types = EventTypes() if self._app is None else self.webhooks.event_types
        settings = self.settings.model_copy(update={"deliver": False, "migrate": False, "database_wait": 0.0})
        try:
            backend = default_backend(settings)
        except ValueError as exc:
            raise click.UsageError(str(exc)) from exc

        async def run() -> T:
            async with backend.lifespan(event_types):
                return await function(backend)

        return anyio.run(run)


def subcommand(function: Callable[..., int | None]) -> click.Command:
    """Declare a subcommand, which receives the `Target` and the `Output`, and may return its exit status.

    Prints our errors and exits with status 1.
    """

    @click.command()
    @click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
    @click.pass_context
    @wraps(function)
    def command(context: click.Context, /, as_json: bool, **options: Any) -> int:
        output = Output(as_json=as_json)
        try:
            return function(context.obj, output, **options) or 0
        except WebhooksError as exc:
            output.failure("failed", str(exc))
            return 1

    return command
