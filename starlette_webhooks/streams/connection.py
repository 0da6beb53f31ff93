"""One open stream: a cursor over a view, and the task that sends what lies ahead of it."""

from __future__ import annotations

import json
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

import anyio

from starlette_webhooks.events import Event
from starlette_webhooks.feed import Gap, Replay
from starlette_webhooks.streams.buffer import (
    HISTORY_BYTES,
    SEND_BYTES,
    SEND_FRAMES,
    History,
    Past,
    View,
    batches,
    encode_frame,
)

if TYPE_CHECKING:
    from anyio.abc import TaskGroup
    from starlette.types import Receive, Send

    from starlette_webhooks.streams.hub import StreamHub

__all__ = ["Connection", "response_start"]

logger = logging.getLogger("starlette_webhooks.streams")

T = TypeVar("T")

HEARTBEAT = b": heartbeat\n\n"
MARK_INTERVAL = 30.0
READ_TIMEOUT = 10.0
_LOAD_PAGES = 8
_CLOSE_TIMEOUT = 5.0
_HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
)


class _LogUnreadable(Exception):
    """The log could not be read. The cause has been logged."""


def response_start() -> dict[str, object]:
    """The start of the response, made anew each time, as middleware may change it."""
    return {"type": "http.response.start", "status": 200, "headers": list(_HEADERS)}


class _Transport(Protocol):
    def abort(self) -> None: ...


def _find_transport(receive: Receive) -> _Transport | None:
    # ASGI cannot reset a connection, and uvicorn would wait for a reader that never reads, at shutdown as well. Where
    # its own `receive` has come through, its transport can.
    transport: _Transport | None = getattr(getattr(receive, "__self__", None), "transport", None)
    return transport if hasattr(transport, "abort") else None


class Connection:
    """A reader of a view.

    Attributes:
        cursor: The number of the next frame of the view.
        resume: Where the log must be read from if frames are lost: the id or the position of what was sent last.
        told: The id the client would resume from.
        replay: Asked what has been sent already, until published entries are past it.
        busy: Since when a send is under way, 0 for none.
        beat: A heartbeat is due.
        ending: Why the stream is about to end, None while it is not. What is published already is sent until `end_by`.
        reason: How it ended.
    """

    __slots__ = (
        "_begun",
        "_hub",
        "_live",
        "_next_mark",
        "_pages",
        "_scope",
        "_send_message",
        "_settled",
        "_start_id",
        "_transport",
        "beat",
        "busy",
        "cursor",
        "deadline",
        "end_by",
        "ending",
        "expires",
        "waiter",
        "reason",
        "replay",
        "resume",
        "slot",
        "told",
        "view",
    )

    def __init__(self, hub: StreamHub, view: View, last_event_id: str | None, deadline: float, expires: float) -> None:
        self._hub = hub
        self.view = view
        self.waiter = hub.new_waiter()
        self.cursor = view.end
        self.resume: str | int | None = last_event_id
        self.told = last_event_id
        self.replay: Replay | None = None
        self.busy = 0.0
        self.beat = False
        self.ending: str | None = None
        self.end_by = 0.0
        self.reason: str | None = None
        self.deadline = deadline
        self.expires = expires
        self.slot = 0
        self._start_id: str | None = None
        self._settled = 0
        self._transport: _Transport | None = None
        self._begun = False
        self._live = False
        self._next_mark = hub.now + MARK_INTERVAL
        self._pages: AsyncIterator[Sequence[Event]] | None = None
        self._scope: anyio.CancelScope | None = None
        self._send_message: Send

    def end(self, reason: str, by: float) -> None:
        """Let the stream end cleanly. Whoever calls wakes it."""
        if self.ending is None:
            self.ending = reason
            self.end_by = by

    def cut(self, reason: str) -> None:
        """Break the connection off."""
        self.reason = self.reason or reason
        if self._scope is not None:
            self._scope.cancel()
        if self.busy and self._transport is not None:
            self._transport.abort()

    def start(self, tasks: TaskGroup, receive: Receive, send: Send) -> None:
        """Write the response, from its first byte to its last, in a task of its own. The group ends with it."""
        self._send_message = send
        self._transport = _find_transport(receive)
        self._scope = tasks.cancel_scope
        tasks.start_soon(self._write, name="starlette_webhooks.streams: write")

    async def _write(self) -> None:
        # One coroutine, as every stream holds it while it waits.
        try:
            try:
                # Once the client sees the response begin, it may count on all that is emitted from then on.
                if self.resume is None:
                    await self._start_from_now()
                await self._begin()
                if self._live or await self._catch_up():
                    while not await self._follow():
                        self._hub.counts.lapped += 1
                        if not await self._catch_up():
                            break
            except _LogUnreadable:
                self._live = False
                self.ending = "failed"
                if not self._begun:
                    await self._begin()
            await self._finish()
            self.reason = self.reason or self.ending
        except OSError:
            self.reason = self.reason or "disconnected"
        finally:
            await self._close_pages()
        if self._scope is not None:
            self._scope.cancel()

    async def _begin(self) -> None:
        self._begun = True
        self.busy = self._hub.now
        await self._send_message(response_start())
        await self._send(b"retry: %d\n\n" % random.randint(1000, 3000))

    async def _finish(self) -> None:
        # Spread, so that a restart of the server does not have all of them back at once.
        body = self._mark() + b"retry: %d\n\n" % random.randint(500, 5000)
        self.busy = self._hub.now
        await self._send_message({"type": "http.response.body", "body": body, "more_body": False})

    # Live

    async def _follow(self) -> bool:
        """Send what is published. True where the stream is to end, False where it has lost frames and goes on."""
        view = self.view
        while self.cursor >= view.base:
            if self.ending is not None and self._hub.now >= self.end_by:
                return True
            if self.cursor < view.end:
                data = self._take_unsent() if self.replay is not None else self._take()
                if data:
                    await self._send(data)
            elif self.ending is not None:
                return True
            elif self.beat:
                await self._send(b"")
            else:
                view.parked[self] = None
                try:
                    await self.waiter.wait()
                finally:
                    view.parked.pop(self, None)
        return self.ending is not None

    def _take(self) -> bytes:
        view = self.view
        data, stop = self._hub.buffer.chunk(view, self.cursor)
        entry = view.frames[stop - 1].entry
        self._hub.counts.frames += stop - self.cursor
        self.cursor = stop
        self.resume = entry.position
        self.told = entry.event.id
        return data

    def _take_unsent(self) -> bytes:
        """The next frames, without those that the replay has sent already."""
        view = self.view
        parts: list[bytes] = []
        size = 0
        while self.cursor < view.end and len(parts) < SEND_FRAMES and size < SEND_BYTES and self.replay is not None:
            frame = view.frames[self.cursor]
            covered = self.replay.covers(frame.entry)
            if not covered and self.cursor >= self._settled:
                # From here on this reader takes what all others take.
                self.replay = None
                break
            self.cursor += 1
            if covered:
                continue
            parts.append(frame.data)
            size += len(frame.data)
            self.resume = frame.entry.position
            self.told = frame.entry.event.id
        self._hub.counts.frames += len(parts)
        return b"".join(parts)

    def _mark(self) -> bytes:
        """A bare id that moves the resume point over what the filter left out, if there is anything."""
        view = self.view
        last = view.channel.last
        if not self._live or self.cursor != view.end:
            return b""
        if last is not None and (self.replay is None or not self.replay.covers(last)):
            identifier: str | None = last.event.id
            self.resume = last.position
            self.replay = None
        else:
            identifier = self._start_id if self.told is None else None
        if identifier is None or identifier == self.told:
            return b""
        if last is not None and identifier == last.event.id:
            view.mark(identifier)
        self.told = identifier
        return b"id: %b\n\n" % identifier.encode()

    async def _send(self, data: bytes) -> None:
        hub = self._hub
        if self.beat:
            self.beat = False
            hub.counts.heartbeats += 1
            data += HEARTBEAT
            if hub.now >= self._next_mark:
                self._next_mark = hub.now + MARK_INTERVAL
                data += self._mark()
        hub.counts.sends += 1
        self.busy = hub.now
        await self._send_message({"type": "http.response.body", "body": data, "more_body": True})
        self.busy = 0.0

    # What was missed

    async def _start_from_now(self) -> None:
        """Go live at once. What was committed before, and may be published only now, is left out."""
        last = self.view.channel.last
        past = await self._open(None)
        self.cursor = past.cursor
        self.replay = past.replay
        self.resume = None if last is None else last.position
        self._start_id = past.replay.last_id if past.replay is not None else None
        self._settled = self.view.end
        self._live = True

    async def _catch_up(self) -> bool:
        """Send what was missed, from memory or from the log. False where the stream is to end before that is done."""
        view = self.view
        self._live = False
        after = self.view.channel.floor if self.resume is None else self.resume
        past: Past | None
        if not isinstance(after, str):
            past = await self._open(after)
        elif (past := view.recall(after)) is None:
            # Many come back at once after a restart. The first reads, the others find it in memory.
            async with view.loading:
                past = view.recall(after) or await self._load(after)
        if past.replay is not None and past.replay.gap is not None:
            await self._send_gap(past.replay.gap)
        if not await self._send_past(past.frames):
            return False
        while past.more and (page := await self._next_page()) is not None:
            if not await self._send_past([(event.id, encode_frame(event)) for event in page]):
                return False
        self.cursor = past.cursor
        self.replay = past.replay
        self._settled = view.end
        self._live = True
        return True

    async def _send_past(self, frames: Sequence[tuple[str, bytes]]) -> bool:
        if not frames and self.beat:
            await self._send(b"")
        for last, data, count in batches(frames):
            if self.ending is not None:
                return False
            self.resume = self.told = last
            self._hub.counts.frames += count
            await self._send(data)
        return self.ending is None

    async def _send_gap(self, gap: Gap) -> None:
        self._hub.counts.gaps += 1
        detail = json.dumps({"requested": gap.requested, "oldest": gap.oldest}, separators=(",", ":"))
        await self._send(b"event: gap\ndata: %b\n\n" % detail.encode())

    async def _open(self, after: str | int | None) -> Past:
        """Open a replay. What is published from here on lies ahead of the cursor."""
        view = self.view
        cursor = view.end
        self._hub.counts.replays += 1
        replay = await self._read(partial(self._hub.backend.replay, view.channel.tenant, view.filter, after))
        await self._close_pages()
        self._pages = None if after is None else replay.pages()
        return Past(cursor, replay, more=after is not None)

    async def _load(self, after: str) -> Past:
        """Open a replay and read it into memory, for others as well; where it is long, only its beginning."""
        hub = self._hub
        past = await self._open(after)
        assert past.replay is not None
        frames: list[tuple[str, bytes]] = []
        size = 0
        for _ in range(_LOAD_PAGES):
            if size >= HISTORY_BYTES:
                break
            page = await self._next_page()
            if page is None:
                if past.replay.gap is None:
                    hub.buffer.remember(self.view, History(after, past.cursor, past.replay, frames, made=hub.now))
                return Past(past.cursor, past.replay, frames)
            for event in page:
                data = encode_frame(event)
                size += len(data)
                frames.append((event.id, data))
        return Past(past.cursor, past.replay, frames, more=True)

    async def _next_page(self) -> Sequence[Event] | None:
        pages = self._pages
        assert pages is not None
        return await self._read(lambda: anext(pages, None))

    async def _read(self, read: Callable[[], Awaitable[T]]) -> T:
        """Call the backend. It is not interrupted half way, only where it takes far too long."""
        async with self._hub.reads:
            try:
                with anyio.fail_after(READ_TIMEOUT, shield=True):
                    return await read()
            except Exception as exc:
                logger.warning("A stream is ended, since the log of events cannot be read.", exc_info=exc)
                raise _LogUnreadable from exc

    async def _close_pages(self) -> None:
        pages, self._pages = self._pages, None
        close = getattr(pages, "aclose", None)
        if close is not None:
            with anyio.move_on_after(_CLOSE_TIMEOUT, shield=True):
                await close()
