"""`starlette-webhooks encrypt`."""

from __future__ import annotations

from pathlib import Path

import anyio
import click

from starlette_webhooks.audit import record
from starlette_webhooks.backends import default_backend
from starlette_webhooks.cli.auditing import command_actor
from starlette_webhooks.cli.output import Output, counted
from starlette_webhooks.cli.target import Target, subcommand
from starlette_webhooks.event_types import EventTypes
from starlette_webhooks.settings import WebhooksSettings

__all__ = ["encrypt"]


@subcommand
def encrypt(target: Target, output: Output) -> None:
    """Encrypt the secrets in the database with the first key of `WEBHOOKS_ENCRYPTION_KEY`.

    Run it once after you added or replaced a key, when all processes of the app have the new one. The app may run.
    """
    settings, where = target.settings, target.administration.where
    if settings.database_url.dialect == "sqlite" and not Path(settings.database_url.path).exists():
        raise click.UsageError(f"There is no database at {where}.")
    if settings.encryption_key is None:
        raise click.UsageError("Set `WEBHOOKS_ENCRYPTION_KEY` to the key to encrypt with.")
    count = anyio.run(_reencrypt, settings.model_copy(update={"deliver": False, "svix_api_key": None}))
    record("secrets.encrypted", "", command_actor(), count=str(count))
    output.result(
        {"endpoints": count}, f"{where}: encrypted the secrets of {counted(count, 'endpoint')} with the first key."
    )


async def _reencrypt(settings: WebhooksSettings) -> int:
    backend = default_backend(settings)
    async with backend.lifespan(EventTypes()):
        return await backend.reencrypt()
