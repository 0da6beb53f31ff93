"""`starlette-webhooks dead-letters list`, `redrive` and `discard`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

import click

from starlette_webhooks.audited_dead_letters import AuditedDeadLetters
from starlette_webhooks.backends.base import Backend
from starlette_webhooks.cli.auditing import command_actor
from starlette_webhooks.cli.output import Output, counted
from starlette_webhooks.cli.target import Target, subcommand
from starlette_webhooks.dead_letters import DeadLetters
from starlette_webhooks.events import format_time
from starlette_webhooks.outbox.drain import Drain

__all__ = ["dead_letters"]

T = TypeVar("T")

_COLUMNS = {
    "tenant": "tenant",
    "id": "id",
    "eventType": "type",
    "code": "reason",
    "detail": "detail",
    "deadLetteredAt": "since",
}


@click.group("dead-letters")
def dead_letters() -> None:
    """Events that were refused permanently on their way into the log or to Svix."""


@subcommand
@click.option("--tenant", help="Only of this tenant.")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="How many.")
def list_letters(target: Target, output: Output, tenant: str | None, limit: int) -> None:
    """List dead letters, oldest first. They hold up nothing else."""
    found = _operate(target, lambda letters: letters.list(tenant=tenant, limit=limit))
    documents = [
        {
            "tenant": letter.tenant,
            "id": letter.id,
            "eventType": None if letter.event is None else letter.event.type,
            "code": letter.code,
            "detail": letter.detail,
            "deadLetteredAt": format_time(letter.dead_lettered_at),
        }
        for letter in found
    ]
    output.page("deadLetters", documents, None, _COLUMNS)


@subcommand
@click.argument("ids", nargs=-1)
@click.option("--tenant", help="Those of this tenant.")
@click.option("--all", "everything", is_flag=True, help="All of them.")
def redrive(target: Target, output: Output, ids: tuple[str, ...], tenant: str | None, everything: bool) -> None:
    """Queue dead letters again, in their order. Fix the cause first: what is refused again is dead-lettered again."""
    if not ids and tenant is None and not everything:
        raise click.UsageError("Name the dead letters by their ids, or pass `--tenant` or `--all`.")
    count = _operate(target, lambda letters: letters.redrive(tenant, ids=ids or None))
    output.result({"redriven": count}, f"{counted(count, 'event')} {'is' if count == 1 else 'are'} queued again.")


@subcommand
@click.argument("ids", nargs=-1, required=True)
@click.option("--yes", is_flag=True, help="Do not ask.")
def discard(target: Target, output: Output, ids: tuple[str, ...], yes: bool) -> None:
    """Delete dead letters forever, by their ids."""
    output.confirm(f"Delete {counted(len(ids), 'dead letter')} forever?", yes=yes)
    count = _operate(target, lambda letters: letters.discard(ids))
    output.result({"discarded": count}, f"{counted(count, 'dead letter')} deleted.")


dead_letters.add_command(list_letters, "list")
dead_letters.add_command(redrive)
dead_letters.add_command(discard)


def _operate(target: Target, function: Callable[[AuditedDeadLetters], Awaitable[T]]) -> T:
    """Call a function with the dead letters of the backend and of the outbox of the app."""

    async def operate(backend: Backend) -> T:
        async with _keepers(target, backend) as keepers:
            return await function(AuditedDeadLetters(keepers, command_actor()))

    return target.operate(operate)


@asynccontextmanager
async def _keepers(target: Target, backend: Backend) -> AsyncGenerator[Sequence[DeadLetters]]:
    outbox = target.webhooks.outbox if target.has_app else None
    if outbox is None or (backend.outbox is not None and outbox.is_same(backend.outbox)):
        yield (backend,)
        return
    drain = Drain(outbox)
    try:
        yield (drain, backend)
    finally:
        await drain.close()
