"""Processes that commit orders with their events until they are killed.

`python -m tests.outbox.killed HOST LOG SCHEMA KILLS`. Each process is a fork of one that has imported everything,
because Python takes longer to start than they live.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
from uuid import uuid4

import anyio
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.orm import Session

from starlette_webhooks import Webhooks
from starlette_webhooks.outbox import Outbox
from starlette_webhooks.settings import WebhooksSettings

__all__ = ["engine_of", "make_webhooks"]

_THREADS = 2


def engine_of(host: str) -> Engine:
    """The engine of the host."""
    return create_engine(host.replace("postgresql://", "postgresql+psycopg://"))


def make_webhooks(host: str, log: str, schema: str, *, deliver: bool = True) -> Webhooks:
    """Create a host whose log may be in its own database."""
    settings = WebhooksSettings(
        database=log,
        database_schema=schema,
        allow_networks="127.0.0.0/8",  # type: ignore[arg-type]
        attempt_timeout=1.0,
        deliver=deliver,
        shutdown_grace=1.0,
        handle_signals=False,
    )
    outbox = None if host == log else Outbox(engine_of(host))
    return Webhooks(event_types=["order.created"], settings=settings, outbox=outbox)


def place_orders(webhooks: Webhooks, engine: Engine, orders: str, ready: int) -> None:
    """Place orders forever, and print a line after the first one."""
    emitter = webhooks.emitter("acme")
    while True:
        with Session(engine) as session:
            for _ in range(random.randint(1, 3)):
                sku = uuid4().hex
                session.execute(text(f"INSERT INTO {orders} (sku) VALUES (:sku)"), {"sku": sku})
                emitter.emit("order.created", {"sku": sku}, within=session)
            if random.random() < 0.2:
                session.rollback()
            session.commit()
        os.write(ready, b".")


async def work(host: str, log: str, schema: str, ready: int) -> None:
    """Run a host with threads that place orders."""
    # The leases of killed processes outlast this test.
    webhooks = make_webhooks(host, log, schema, deliver=False)
    engine = engine_of(host)
    orders = f"{schema}.orders" if host == log else "orders"
    async with webhooks.lifespan():
        for _ in range(_THREADS):
            threading.Thread(target=place_orders, args=(webhooks, engine, orders, ready), daemon=True).start()
        await anyio.sleep_forever()


def kill_one(host: str, log: str, schema: str) -> None:
    """Let a process live until a moment after its first order."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        anyio.run(work, host, log, schema, writing)
    os.close(writing)
    started = os.read(reading, 1)
    time.sleep(random.uniform(0, 0.2))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(reading)
    assert started, "The process ended by itself."


if __name__ == "__main__":
    for _ in range(int(sys.argv[4])):
        kill_one(*sys.argv[1:4])
