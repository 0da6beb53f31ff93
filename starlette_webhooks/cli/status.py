"""`starlette-webhooks status`."""

from __future__ import annotations

from starlette_webhooks.backends.base import Backend
from starlette_webhooks.cli.output import Output, counted, duration
from starlette_webhooks.cli.target import Target, subcommand
from starlette_webhooks.operations import COUNTED, EXHAUSTED_COUNTED, Overview

__all__ = ["status"]


@subcommand
def status(target: Target, output: Output) -> None:
    """Show figures over all tenants: what waits, for how long, and what fails.

    Numbers are counted to 10,000 at most.
    """

    async def read(backend: Backend) -> tuple[str, Overview]:
        return backend.name, await backend.overview()

    name, found = target.operate(read)
    values = {
        "backend": name,
        "waiting": found.waiting,
        "failing": found.failing,
        "exhausted": found.exhausted,
        "held": found.held,
        "oldestDueSeconds": round(found.late, 3),
        "endpoints": found.endpoints,
        "endpointsFailing": found.endpoints_failing,
        "endpointsDisabled": found.endpoints_disabled,
        "outboxWaiting": found.outbox_waiting,
        "outboxOldestSeconds": round(found.outbox_late, 3),
        "deadLettered": found.dead_lettered,
        "storageBytes": found.storage_bytes,
        "dispatchers": found.dispatchers,
    }
    output.result(values, "\n".join(_lines(name, found)))


def _lines(name: str, found: Overview) -> list[str]:
    outbox = counted(found.outbox_waiting, "event", limit=COUNTED)
    lines = [f"outbox      {outbox} waiting{_since(found.outbox_late)}, {_many(found.dead_lettered)} dead-lettered"]
    if name == "svix":
        return lines
    deliveries = counted(found.waiting, "delivery", limit=COUNTED)
    return [
        f"waiting     {deliveries}, of which {_many(found.failing)} failed and will be retried",
        f"late        {duration(found.late) if found.late else 'nothing'}",
        f"exhausted   {counted(found.exhausted, 'delivery', limit=EXHAUSTED_COUNTED)} without attempts left",
        f"held        {counted(found.held, 'delivery', limit=COUNTED)} to disabled endpoints",
        f"endpoints   {_many(found.endpoints)}, {_many(found.endpoints_failing)} failing, "
        f"{_many(found.endpoints_disabled)} disabled",
        *lines,
        f"dispatchers {found.dispatchers}",
        f"storage     {found.storage_bytes / 1_048_576:,.1f} MiB",
    ]


def _many(number: int) -> str:
    return f"{number:,} or more" if number >= COUNTED else f"{number:,}"


def _since(seconds: float) -> str:
    return f" for {duration(seconds)}" if seconds else ""
