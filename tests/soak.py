"""Long loops that try to lose an event: `scripts/soak kills|disconnects|held|listen|within`. The suite runs short ones.

Each runs real servers on one database, and counts what was answered, what is in the log, and what was delivered.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sqlite3
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import httpx
import psycopg

from tests import plain
from tests.cli.killing import kill_listen
from tests.eventually import wait_for
from tests.hosts import MOUNT, bearer
from tests.mariadb import is_installed, starting_mariadb
from tests.outbox.kills import kill_hosts
from tests.postgresql import find_binaries, starting_postgresql
from tests.receivers import Receiver, receiving
from tests.servers import Server, serving

ACME = bearer("acme")
# Many deliveries an event, because this loop is not about emitting.
_FAN_OUT = 10
_DELIVERIES_PER_SECOND = 800
SETTINGS = {"attempt_timeout": "2", "calls_per_second": "100000", "calls_burst": "100000"}


@dataclass
class Figures:
    """What a loop found. `lost` and `undelivered` must be 0.

    Attributes:
        refused: Calls that got an error, or no response.
        repeated: Deliveries beyond the first of an event, as after a kill.
    """

    rounds: int
    answered: int
    refused: int
    lost: int
    undelivered: int
    repeated: int
    seconds: float
    more: dict[str, Any] = field(default_factory=dict)


class Load:
    """Threads that emit to a server until they are stopped, or the server dies.

    Attributes:
        endpoints: How often each event is to be delivered.
    """

    def __init__(self, endpoints: int) -> None:
        self.endpoints = endpoints
        self.answered: list[str] = []
        self.refused = 0

    @contextmanager
    def on(self, server: Server, threads: int = 2, *, per_second: float = math.inf) -> Generator[None]:
        """Emit until the block ends, at most so many events a second."""
        stop = threading.Event()
        emit = partial(self._emit, server, stop, threads / per_second)
        running = [threading.Thread(target=emit, daemon=True) for _ in range(threads)]
        for thread in running:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            for thread in running:
                thread.join(30)

    def _emit(self, server: Server, stop: threading.Event, spacing: float) -> None:
        due = time.monotonic()
        with plain.Client(base_url=server.url, headers={"X-User": "acme"}, timeout=20) as client:
            while not stop.wait(max(due - time.monotonic(), 0)):
                due = max(due + spacing, time.monotonic() - 1)
                try:
                    response = client.post("/emit", json={"n": len(self.answered)})
                except httpx.TransportError:
                    self.refused += 1
                    if server.process.poll() is not None:
                        return
                    continue
                if response.status_code == 200:
                    self.answered.append(response.json()["id"])
                else:
                    self.refused += 1
                    time.sleep(0.02)

    def wait_for_more(self, count: int) -> None:
        """Wait until this many more calls were answered."""
        until = len(self.answered) + count
        wait_for(lambda: len(self.answered) >= until, 60)


@contextmanager
def soaking(
    directory: Path, settings: dict[str, Any], *, endpoints: int = 1
) -> Generator[tuple[Server, Receiver, Load]]:
    """A server with endpoints, their receiver, and a load for it."""
    with receiving() as receiver, serving(directory, **settings) as server:
        for _ in range(endpoints):
            created = plain.post(f"{server.url}{MOUNT}/endpoints", json={"url": receiver.url}, headers=ACME)
            created.raise_for_status()
        yield server, receiver, Load(endpoints)


def judge(server: Server, receiver: Receiver, load: Load, rounds: int, began: float, **more: Any) -> Figures:
    """Wait until nothing is left to deliver, and compare."""
    answered = set(load.answered)
    with suppress(TimeoutError):
        wait_for(lambda: not undelivered(load, receiver), 60)
    delivered = Counter(receiver.ids())
    return Figures(
        rounds,
        len(load.answered),
        load.refused,
        len(answered - listed(server)),
        len(undelivered(load, receiver)),
        sum(max(count - load.endpoints, 0) for count in delivered.values()),
        round(time.monotonic() - began, 1),
        more,
    )


def undelivered(load: Load, receiver: Receiver) -> list[str]:
    """Return the answered events that have not reached all endpoints."""
    delivered = Counter(receiver.ids())
    return [one for one in load.answered if delivered[one] < load.endpoints]


def listed(server: Server) -> set[str]:
    """The ids of all events in the log."""
    ids: set[str] = set()
    query = {"limit": "250"}
    while True:
        page = plain.get(f"{server.url}{MOUNT}/events", params=query, headers=ACME, timeout=30).json()
        ids |= {event["id"] for event in page["events"]}
        if page["done"]:
            return ids
        query["cursor"] = page["nextCursor"]


def kills(directory: Path, count: int, settings: dict[str, Any]) -> Figures:
    """Kill one of two servers again and again, while both emit and deliver."""
    began = time.monotonic()
    with soaking(directory, settings) as (steady, receiver, load):
        with load.on(steady, 1):
            for _ in range(count):
                with serving(directory, **settings) as victim, load.on(victim):
                    load.wait_for_more(20)
                    time.sleep(random.uniform(0, 0.1))
                    victim.kill()
        return judge(steady, receiver, load, count, began)


def disconnects(directory: Path, count: int, settings: dict[str, Any]) -> Figures:
    """End sessions at the server of PostgreSQL at random, while a stream is open."""
    began = time.monotonic()
    with soaking(directory, settings) as (server, receiver, load), following(server) as streamed:
        with load.on(server), psycopg.connect(settings["database"], autocommit=True) as connection:
            done = 0
            while done < count:
                ended = connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE application_name = 'starlette_webhooks' ORDER BY random() LIMIT 1"
                ).fetchall()
                done += len(ended)
                time.sleep(random.uniform(0, 0.1))
            load.wait_for_more(20)
        answered = set(load.answered)
        with suppress(TimeoutError):
            wait_for(lambda: answered <= set(streamed), 20)
        missed, again = len(answered - set(streamed)), len(streamed) - len(set(streamed))
        return judge(server, receiver, load, done, began, stream_missed=missed, stream_repeated=again)


@contextmanager
def following(server: Server) -> Generator[list[str]]:
    """Yield the ids of a stream, which is resumed whenever it ends."""
    ids: list[str] = []
    opened, stop = threading.Event(), threading.Event()

    def read() -> None:
        while not stop.is_set():
            headers = {**ACME, **({"Last-Event-ID": ids[-1]} if ids else {})}
            with (
                suppress(httpx.TransportError),
                plain.stream("GET", f"{server.url}{MOUNT}/events/stream", headers=headers, timeout=20) as response,
            ):
                identifier = ""
                for line in response.iter_lines():
                    opened.set()
                    if line.startswith("id: "):
                        identifier = line[4:]
                    elif line.startswith("data: ") and identifier:
                        ids.append(identifier)
                        identifier = ""
                    if stop.is_set():
                        return

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    assert opened.wait(20)
    try:
        yield ids
    finally:
        stop.set()
        reader.join(5)


def held(directory: Path, seconds: int, settings: dict[str, Any]) -> Figures:
    """Hold a reading transaction open, and compare the rate of deliveries before it and at its end."""
    began = time.monotonic()
    window = max(seconds / 10, 1)
    with soaking(directory, settings, endpoints=_FAN_OUT) as (server, receiver, load):
        with load.on(server, 4, per_second=_DELIVERIES_PER_SECOND / _FAN_OUT):
            load.wait_for_more(_DELIVERIES_PER_SECOND)
            before = rate(receiver, window)
            with HOLDERS[str(settings["database"]).partition(":")[0]](settings["database"]):
                time.sleep(max(seconds - window, 0))
                during = rate(receiver, window)
                waiting = load.endpoints * len(load.answered) - len(receiver.requests)
        figures = {
            "per_second_before": round(before),
            "per_second_at_the_end": round(during),
            "waiting_at_the_end": waiting,
        }
        return judge(server, receiver, load, seconds, began, **figures)


def listen(directory: Path, count: int, settings: dict[str, Any]) -> Figures:
    """Kill the server, the command `listen` and the app that it forwards to, at random."""
    began = time.monotonic()
    victims = [random.choice(["server", "app", "listen"]) for _ in range(count)]
    found = kill_listen(directory, victims, settings, pause=2.0)
    seconds = round(time.monotonic() - began, 1)
    more = {"in_order": found.in_order}
    # Events out of order count as lost.
    lost = found.lost + (not found.in_order)
    return Figures(count, len(found.answered), 0, lost, 0, found.repeated, seconds, more)


def rate(receiver: Receiver, seconds: float) -> float:
    """Deliveries a second."""
    before = len(receiver.requests)
    time.sleep(seconds)
    return (len(receiver.requests) - before) / seconds


@contextmanager
def holding_postgresql(url: str) -> Generator[None]:
    """Another program's transaction, which sees the database as it was at its beginning."""
    with psycopg.connect(url) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        connection.execute("SELECT count(*) FROM pg_class")
        yield


@contextmanager
def holding_sqlite(path: str) -> Generator[None]:
    """The same in a SQLite file, which cannot be checkpointed meanwhile."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM event").fetchone()
        yield
        connection.execute("ROLLBACK")


def within(directory: Path, count: int, settings: dict[str, Any]) -> Figures:
    """Kill processes that emit within their own transactions, and relay."""
    began = time.monotonic()
    host, log = str(settings["database"]), str(directory / "webhooks.db")
    if host.startswith("postgresql:"):
        log = host
    elif "://" not in host:
        host = f"sqlite:///{directory / 'host.db'}"
    outcome = anyio.run(kill_hosts, host, log, "webhooks", count)
    return Figures(
        count,
        outcome.orders,
        0,
        outcome.lost,
        outcome.undelivered,
        outcome.repeated,
        round(time.monotonic() - began, 1),
        {"invented": outcome.invented, "doubled": outcome.doubled},
    )


class _Holders(dict[str, Callable[[str], Any]]):
    def __missing__(self, key: str) -> Callable[[str], Any]:
        return holding_sqlite


HOLDERS = _Holders(postgresql=holding_postgresql)
LOOPS: dict[str, tuple[Callable[[Path, int, dict[str, Any]], Figures], int]] = {
    "kills": (kills, 100),
    "disconnects": (disconnects, 1000),
    "held": (held, 180),
    "listen": (listen, 100),
    "within": (within, 100),
}
# What must be 0, beside what is lost or undelivered.
_NEVER = ("stream_missed", "invented", "doubled")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one loop on one database, and print its figures as JSON. Exits with 1 if something was lost."""
    parser = argparse.ArgumentParser(prog="scripts/soak", description="Try to lose an event.")
    parser.add_argument("loop", choices=LOOPS)
    parser.add_argument("number", nargs="?", type=int, help="how many, or for how many seconds")
    parser.add_argument("--database", choices=("sqlite", "postgresql", "mariadb"), default="postgresql")
    given = parser.parse_args(arguments)
    loop, number = LOOPS[given.loop]
    if loop is disconnects and given.database == "sqlite":
        parser.error("SQLite has no connections to break.")
    if given.database == "mariadb" and (loop is not within or not is_installed()):
        parser.error("Only `within` runs on MariaDB, and it needs Debian's package `mariadb-server`.")
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        if given.database == "sqlite":
            settings = {**SETTINGS, "database": str(directory / "webhooks.db")}
            figures = loop(directory, given.number or number, settings)
        elif given.database == "mariadb":
            with starting_mariadb() as url:
                figures = loop(directory, given.number or number, {**SETTINGS, "database": url})
        else:
            binaries = find_binaries()
            if binaries is None:
                parser.error("No PostgreSQL: install Debian's package `postgresql`.")
            with starting_postgresql(binaries) as server:
                figures = loop(directory, given.number or number, {**SETTINGS, "database": server.url})
    print(json.dumps(asdict(figures), indent=1))
    never = [figures.more.get(name, 0) for name in _NEVER]
    raise SystemExit(1 if figures.lost or figures.undelivered or any(never) else 0)


if __name__ == "__main__":
    main()
