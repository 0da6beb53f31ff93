"""A backend that is only a log in memory, and readers of its streams."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import anyio
import anyio.lowlevel

from starlette_webhooks.events import Event
from starlette_webhooks.feed import Entry, Gap, Listener, Replay, StreamFilter
from starlette_webhooks.identifiers import is_message_id, mint
from starlette_webhooks.streams import StreamHub, Timing
from tests.eventually import eventually
from tests.settings import make_settings

TENANT = "acme"
ALL = StreamFilter()
TIMING = Timing()


def make_event(number: int, *, tenant: str = TENANT, type: str = "invoice.paid", size: int = 0) -> Event:
    """An event whose payload carries a number, and `size` bytes to fill it."""
    filling = b"x" * size
    payload = b'{"type":"%b","data":{"number":%d,"filling":"%b"}}' % (type.encode(), number, filling)
    return Event(mint("msg_"), tenant, type, payload, datetime.now(UTC), mint("evt_"))


async def at_once() -> None:
    """A store that answers at once."""


class Log:
    """A log that publishes only when it is told to, like the tail of a database that lags behind its commits."""

    def __init__(self, *, page: int = 3, pause: Callable[[], Awaitable[None]] = at_once) -> None:
        self.entries: list[Entry] = []
        self.pruned = 0
        self.published = 0
        self.page = page
        self.pause = pause
        self.watched: list[str] = []
        self.replays: list[str | int | None] = []
        self.listener: Listener | None = None

    def listen(self, listener: Listener) -> None:
        self.listener = listener

    def watch(self, tenant: str) -> None:
        assert tenant not in self.watched
        self.watched.append(tenant)

    def unwatch(self, tenant: str) -> None:
        self.watched.remove(tenant)

    def commit(self, event: Event) -> Event:
        """Make an event durable, without publishing it."""
        self.entries.append(Entry(len(self.entries) + 1, event))
        return event

    def publish(self, count: int | None = None) -> None:
        """Publish the next commits."""
        until = len(self.entries) if count is None else min(self.published + count, len(self.entries))
        fresh, self.published = self.entries[self.published : until], until
        assert self.listener is not None
        wanted = [entry for entry in fresh if entry.event.tenant in self.listener.tenants]
        if wanted:
            self.listener.publish(wanted)

    def lose(self, count: int) -> None:
        """Go back to an earlier state, like a database after a failover. Its tail notices before it publishes more."""
        del self.entries[-count:]
        self.published = len(self.entries)
        assert self.listener is not None
        self.listener.restart()

    def emit(self, number: int, **fields: Any) -> Event:
        """Commit an event and publish it."""
        event = self.commit(make_event(number, **fields))
        self.publish()
        return event

    async def replay(self, tenant: str, filter: StreamFilter, after: str | int | None) -> LogReplay:
        self.replays.append(after)
        await self.pause()
        kept = [entry for entry in self.entries[self.pruned :] if entry.event.tenant == tenant]
        gap, last, start = None, None, len(self.entries)
        if isinstance(after, int):
            start = after
        elif after is None:
            last = kept[-1].event.id if kept else None
        else:
            found = [entry.position for entry in kept if entry.event.id == after]
            start = found[0] if found else self._later(after, kept)
            gap = None if found else Gap(after, kept[0].event.id if kept else None)
            last = kept[-1].event.id if kept and not found else None
        return LogReplay(self, kept, filter, start, gap, last)

    def _later(self, lost: str, kept: Sequence[Entry]) -> int:
        """Return the position before the first event that was minted after a missing one."""
        if not is_message_id(lost):
            return self.pruned
        return next((entry.position - 1 for entry in kept if entry.event.id > lost), len(self.entries))


class LogReplay(Replay):
    """A replay of what is committed when it is opened."""

    def __init__(
        self, log: Log, kept: Sequence[Entry], filter: StreamFilter, start: int, gap: Gap | None, last: str | None
    ) -> None:
        self.gap = gap
        self.last_id = last
        self.position = len(log.entries)
        self.closed = False
        self._log = log
        self._events = [entry.event for entry in kept if entry.position > start and filter.matches(entry.event)]

    def covers(self, entry: Entry) -> bool:
        return entry.position <= self.position

    async def pages(self) -> AsyncIterator[Sequence[Event]]:
        for start in range(0, len(self._events), self._log.page):
            await self._log.pause()
            yield self._events[start : start + self._log.page]


@asynccontextmanager
async def running(
    log: Log, clock: Callable[[], float] = time.monotonic, *, timing: Timing = TIMING, **settings: Any
) -> AsyncGenerator[StreamHub]:
    """A hub over the log."""
    hub = StreamHub(log, make_settings(**settings), clock=clock, timing=timing)
    log.listen(hub)
    async with hub.running():
        yield hub


@dataclass
class Block:
    """The lines between two empty lines of a stream."""

    fields: dict[str, str]
    comment: str | None

    @property
    def number(self) -> int:
        found = re.search(r'"number":(\d+)', self.fields["data"])
        assert found is not None
        return int(found[1])


def parse(body: bytes) -> list[Block]:
    """The blocks of a stream (HTML, "Interpreting an event stream")."""
    blocks = []
    for text in body.decode().split("\n\n"):
        if text:
            lines = text.split("\n")
            comment = next((line[1:].strip() for line in lines if line.startswith(":")), None)
            pairs = [line.split(": ", 1) for line in lines if not line.startswith(":")]
            blocks.append(Block({pair[0]: pair[1] for pair in pairs}, comment))
    return blocks


class Reader:
    """A client with its own pace: it accepts a message when its gate is open, and after `pause`."""

    def __init__(self, *, open: bool = True, pause: Callable[[], Awaitable[None]] = at_once) -> None:
        self.messages: list[dict[str, Any]] = []
        self.times: list[float] = []
        self.gate = anyio.Event()
        self.gone = anyio.Event()
        self.pause = pause
        self.blocked = False
        self.returned = False
        if open:
            self.gate.set()

    async def send(self, message: Any) -> None:
        self.blocked = True
        await self.gate.wait()
        await self.pause()
        if self.gone.is_set():
            raise OSError("gone")
        self.blocked = False
        self.messages.append(message)
        self.times.append(anyio.current_time())

    async def receive(self) -> dict[str, Any]:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    def stop(self) -> None:
        """Accept no more messages."""
        self.gate = anyio.Event()

    @property
    def body(self) -> bytes:
        return b"".join(message["body"] for message in self.messages if message["type"] == "http.response.body")

    @property
    def blocks(self) -> list[Block]:
        return parse(self.body)

    @property
    def numbers(self) -> list[int]:
        return [block.number for block in self.blocks if "id" in block.fields and "data" in block.fields]

    @property
    def last_event_id(self) -> str | None:
        """Return the id from which an `EventSource` would resume."""
        return next((block.fields["id"] for block in reversed(self.blocks) if "id" in block.fields), None)

    @property
    def ended(self) -> bool:
        return bool(self.messages) and self.messages[-1].get("more_body") is False

    async def run(
        self, hub: StreamHub, filter: StreamFilter = ALL, after: str | None = None, tenant: str = TENANT, **options: Any
    ) -> None:
        scope = {"type": "http", "method": "GET"}
        await hub.serve(scope, self.receive, self.send, tenant=tenant, filter=filter, last_event_id=after, **options)
        self.returned = True


@asynccontextmanager
async def reading(
    hub: StreamHub, filter: StreamFilter = ALL, after: str | None = None, **options: Any
) -> AsyncGenerator[Reader]:
    """A stream that has begun; the client leaves at the end."""
    reader = Reader()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: reader.run(hub, filter, after, **options))
        await eventually(lambda: len(reader.messages) >= 2)
        yield reader
        reader.gone.set()


async def settle() -> None:
    """Let every task run until it waits."""
    for _ in range(10):
        await anyio.lowlevel.checkpoint()
