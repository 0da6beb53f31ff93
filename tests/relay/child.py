"""Another machine's process: relays from an outbox in PostgreSQL, and prints the numbers that it forwards."""

from __future__ import annotations

import sys
import time

import anyio

from starlette_webhooks.stores.postgresql.outbox import PostgreSQLOutbox
from tests.relay.target import Target, relaying


async def main(url: str, schema: str) -> None:
    """Relay forever, 50 events a second."""
    outbox = PostgreSQLOutbox(
        url, schema=schema, clock=time.time, retention=86_400, max_events=1000, max_bytes=10_000_000
    )
    target = Target()
    target.on_event = lambda event: print(event.data["number"], flush=True)
    target.pause = 0.02
    async with relaying(outbox, target):
        await anyio.sleep_forever()


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], sys.argv[2])
