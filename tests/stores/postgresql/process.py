"""A separate process with a store: `python -m tests.stores.postgresql.process ACTION URL SCHEMA NUMBER`.

`emit` stores NUMBER events, a few at a time, and prints each id once the event is stored. `share` does the same after
it has read a line with the number of events of all processes, and prints the position and id of each event that streams
get. `hold` leases due deliveries for NUMBER milliseconds, prints their ids, and records them as delivered once it reads
a line. `work` is a whole backend that delivers: it stores NUMBER events, prints their ids, and runs until it reads a
line.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import anyio
from anyio import to_thread

from starlette_webhooks.backends.postgresql import PostgreSQLBackend
from starlette_webhooks.delivery.claims import ClaimRequest
from starlette_webhooks.delivery.slots import Lane, SlotRequest
from starlette_webhooks.event_types import EventTypes
from starlette_webhooks.feed import Entry, StreamFilter
from starlette_webhooks.stores.postgresql.store import PostgreSQLStore
from tests.settings import make_settings
from tests.stores.contract import CAPACITY, due, event, record

AT_ONCE = 4


class Printer:
    """A listener that prints what it gets."""

    def __init__(self) -> None:
        self.tenants = {"acme"}
        self.count = 0

    def publish(self, entries: Sequence[Entry]) -> None:
        """See `Listener.publish`."""
        for entry in entries:
            print(entry.position, entry.event.id, flush=True)
        self.count += len(entries)

    def restart(self) -> None:
        """See `Listener.restart`."""
        raise AssertionError("The log has lost nothing.")


async def emit(store: PostgreSQLStore, number: int) -> None:
    """Store events."""

    async def some() -> None:
        for _ in range(number // AT_ONCE):
            for one in await store.submit([event()]).wait():
                print(one.id, flush=True)

    async with anyio.create_task_group() as tasks:
        for _ in range(AT_ONCE):
            tasks.start_soon(some)


async def share(store: PostgreSQLStore, number: int) -> None:
    """Store events while others do, and print what streams get."""
    printer = Printer()
    store.listen(printer)
    store.watch("acme")
    await store.replay("acme", StreamFilter(), None)
    print("following", flush=True)
    total = int(await to_thread.run_sync(sys.stdin.readline))
    await emit(store, number)
    while printer.count < total:
        await anyio.sleep(0.01)


async def hold(store: PostgreSQLStore, milliseconds: int) -> None:
    """Hold leases, and record late."""
    requests = [SlotRequest(number, Lane.HEALTHY, 8, 0) for number in await due(store)]
    now = store.now()
    claim = await store.claim(
        ClaimRequest(requests=requests, capacity=CAPACITY, tenants={}, now=now, lease=now + milliseconds, unproven=None)
    )
    print(*[one.event_id for one in claim.deliveries], flush=True)
    await to_thread.run_sync(sys.stdin.readline)
    for one in claim.deliveries:
        await record(store, one)
    print("recorded", flush=True)


async def work(url: str, schema: str, number: int) -> None:
    """Emit and deliver."""
    backend = working_backend(url, schema)
    async with backend.lifespan(EventTypes()):
        for _ in range(number):
            (one,) = await backend.submit([event(milliseconds=backend.event_time())]).wait()
            print(one.id, flush=True)
        await to_thread.run_sync(sys.stdin.readline)


def working_backend(url: str, schema: str) -> PostgreSQLBackend:
    """A backend that delivers to loopback, and tries again after a second."""
    return PostgreSQLBackend(make_settings(database=url, database_schema=schema, retry_schedule="0,1,1"))


async def main(*arguments: str) -> None:
    """Do one of them."""
    action, url, schema, number = arguments
    if action == "work":
        return await work(url, schema, int(number))
    store = PostgreSQLStore(url, schema=schema, deadline=20)
    async with store.lifespan():
        await {"emit": emit, "share": share, "hold": hold}[action](store, int(number))


if __name__ == "__main__":
    anyio.run(main, *sys.argv[1:])
