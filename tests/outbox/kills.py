"""Kills processes between insert, commit, relay and acceptance, and compares orders with their events."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import anyio
from sqlalchemy import Engine, text

from starlette_webhooks import Webhooks
from starlette_webhooks.events import EventQuery
from starlette_webhooks.outbox import Outbox
from tests.eventually import eventually
from tests.outbox.killed import engine_of, make_webhooks
from tests.receivers import Receiver, receiving

__all__ = ["Outcome", "kill_hosts"]

_PATIENCE = 30


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the kills left behind. All but `orders` and `repeated` must be 0.

    Attributes:
        lost: Orders without an event in the log.
        invented: Events in the log without an order.
        doubled: Events that are in the log more than once.
        undelivered: Orders whose event the receiver does not have.
        repeated: Deliveries beyond the first of an event.
    """

    orders: int
    lost: int
    invented: int
    doubled: int
    undelivered: int
    repeated: int


async def kill_hosts(host: str, log: str, schema: str, kills: int) -> Outcome:
    """Kill so many processes that place orders, one after another. The log may be in the database of the host."""
    orders = f"{schema}.orders" if host == log else "orders"
    engine = engine_of(host)
    with receiving() as receiver:
        if host != log:
            Outbox(engine).metadata.create_all(engine)
        webhooks = make_webhooks(host, log, schema)
        async with webhooks.lifespan():
            await webhooks.endpoints("acme").create(receiver.url)
            with engine.begin() as connection:
                connection.execute(text(f"CREATE TABLE {orders} (sku VARCHAR(32))"))
        await anyio.run_process([sys.executable, "-m", "tests.outbox.killed", host, log, schema, str(kills)])
        webhooks = make_webhooks(host, log, schema)
        async with webhooks.lifespan():
            return await _compare(webhooks, engine, orders, receiver)


async def _compare(webhooks: Webhooks, engine: Engine, orders: str, receiver: Receiver) -> Outcome:
    with engine.connect() as connection:
        committed = set(connection.execute(text(f"SELECT sku FROM {orders}")).scalars())
    engine.dispose()

    async def moved() -> bool:
        return set(await _logged(webhooks)) >= committed

    def delivered() -> Counter[str]:
        return Counter(json.loads(request.body)["data"]["sku"] for request in list(receiver.requests))

    with suppress(TimeoutError):
        await eventually(moved, within=_PATIENCE)

    def missing() -> int:
        # There may be thousands, and reading them all takes the time that delivering them needs.
        return max(len(committed) - len(receiver.requests), 0) or len(committed - set(delivered()))

    await _until_nothing_is_missing(missing)
    logged, received = Counter(await _logged(webhooks)), delivered()
    return Outcome(
        orders=len(committed),
        lost=len(committed - set(logged)),
        invented=len(set(logged) - committed),
        doubled=sum(count - 1 for count in logged.values()),
        undelivered=len(committed - set(received)),
        repeated=sum(count - 1 for count in received.values()),
    )


async def _until_nothing_is_missing(missing: Callable[[], int]) -> None:
    """Wait as long as deliveries arrive: after many kills, there are thousands."""
    left = missing()
    while left:
        try:
            await eventually(partial(_is_less, missing, left), within=_PATIENCE)
        except TimeoutError:
            return
        left = missing()


def _is_less(count: Callable[[], int], than: int) -> bool:
    return count() < than


async def _logged(webhooks: Webhooks) -> Sequence[str]:
    """Return the orders that are in the log."""
    skus: list[str] = []
    cursor = None
    while True:
        page = await webhooks.backend.list_events("acme", EventQuery(limit=250, cursor=cursor))
        skus += [event.data["sku"] for event in page.items]
        if page.done:
            return skus
        cursor = page.next_cursor
