"""A process that relays from an outbox until it is killed: `python -m tests.outbox.relaying HOST LOG SCHEMA`."""

from __future__ import annotations

import sys

import anyio

from starlette_webhooks import Webhooks
from starlette_webhooks.outbox import Outbox
from starlette_webhooks.settings import WebhooksSettings

__all__ = ["make_webhooks"]


def make_webhooks(host: str, log: str, schema: str) -> Webhooks:
    """A host whose log is a file."""
    settings = WebhooksSettings(database=log, deliver=False, handle_signals=False)
    outbox = Outbox(host, schema=schema or None)
    return Webhooks(event_types=["order.created"], settings=settings, outbox=outbox)


async def relay(host: str, log: str, schema: str) -> None:
    """Relay, and say so."""
    webhooks = make_webhooks(host, log, schema)
    async with webhooks.lifespan():
        while not webhooks.health()["hostOutbox"]["here"]:
            await anyio.sleep(0.01)
        print("relays", flush=True)
        await anyio.sleep_forever()


if __name__ == "__main__":
    _, host, log, schema = sys.argv
    anyio.run(relay, host, log, schema)
