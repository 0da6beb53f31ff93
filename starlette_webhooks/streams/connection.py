"""One open stream: the task that sends the events after its position."""

from __future__ import annotations

import json
import random
from enum import Enum, auto
from typing import TYPE_CHECKING

import anyio
from anyio.lowlevel import checkpoint

from starlette_webhooks.feed import Gap
from starlette_webhooks.streams.frames import HEARTBEAT, SEND_BYTES, pieces, response_start
from starlette_webhooks.streams.past import Frames, LoggedPast, Past, RememberedPast, Unreadable
from starlette_webhooks.streams.position import Position
from starlette_webhooks.streams.shared import Shared
from starlette_webhooks.streams.transports import Transport, find_transport
from starlette_webhooks.streams.views import HISTORY_BYTES, History, View
from starlette_webhooks.waiting import Waiter

if TYPE_CHECKING:
    from anyio.abc import TaskGroup
    from starlette.types import Receive, Send

    from starlette_webhooks.sessions import Session

__all__ = ["Connection", "Phase"]


# With a filter that few events match, pages are empty. Other streams and heartbeats wait meanwhile.
_PAGES_AHEAD = 8


class Phase(Enum):
    """What a stream is currently doing."""

    CATCHING_UP = auto()
    """It sends events that its client missed, from memory or the log."""
    LIVE = auto()
    """It sends published events, and waits for more."""
    ENDING = auto()
    """It tells its client when to reconnect."""


class Connection:
    """A reader of a view.

    Args:
        deadline: When it must end because of its age.
        expires: When it must end because its client's authorisation ends.
        session: The session that authorised its client. None for a key.

    Attributes:
        busy: Since when a send has been running. 0 if there is none.
        loaded: Since when it has had pages of the log in memory. 0 if it has none.
        beat: Whether a heartbeat is due.
        ending: Why it is to end, or None. Events that are already published are still sent until `end_by`.
        reason: Why it ended.
        slot: Its slot in `Heartbeats`.
    """

    __slots__ = (
        "_next_mark",
        "_scope",
        "_send_message",
        "_shared",
        "_transport",
        "beat",
        "busy",
        "deadline",
        "end_by",
        "ending",
        "expires",
        "loaded",
        "phase",
        "position",
        "reason",
        "session",
        "slot",
        "waiter",
    )

    def __init__(
        self,
        shared: Shared,
        view: View,
        waiter: Waiter,
        last_event_id: str | None,
        *,
        deadline: float,
        expires: float,
        session: Session | None = None,
    ) -> None:
        self._shared = shared
        self.position = Position(view, last_event_id)
        self.waiter = waiter
        self.deadline = deadline
        self.expires = expires
        self.session = session
        self.phase = Phase.CATCHING_UP
        self.busy = 0.0
        self.loaded = 0.0
        self.beat = False
        self.ending: str | None = None
        self.end_by = 0.0
        self.reason: str | None = None
        self.slot = 0
        self._next_mark = shared.now + shared.mark_interval
        self._transport: Transport | None = None
        self._scope: anyio.CancelScope | None = None
        self._send_message: Send

    def end(self, reason: str, by: float) -> None:
        """Let the stream end cleanly. The caller wakes it."""
        if self.ending is None:
            self.ending = reason
            self.end_by = by

    def abort(self, reason: str) -> None:
        """Abort the connection."""
        self.reason = self.reason or reason
        if self._scope is not None:
            self._scope.cancel()
        if self._transport is not None and reason != "disconnected":
            self._transport.abort()

    def start(self, tasks: TaskGroup, receive: Receive, send: Send) -> None:
        """Write the whole response in a task of its own. The task group ends with it."""
        self._send_message = send
        self._transport = find_transport(receive)
        self._scope = tasks.cancel_scope
        tasks.start_soon(self._write, name="starlette_webhooks.streams: write")

    async def _write(self) -> None:
        # Each waiting stream keeps this coroutine and `_follow` in memory, so there are no others between them.
        try:
            await self._open()
            while self.phase is not Phase.ENDING:
                if self.phase is Phase.LIVE:
                    await self._follow()
                else:
                    await self._catch_up()
            await self._finish()
            self.reason = self.reason or self.ending
        except OSError:
            self.reason = self.reason or "disconnected"
        if self._scope is not None:
            self._scope.cancel()

    async def _open(self) -> None:
        # Once the response has begun, the client can rely on everything that is emitted from then on.
        start = b""
        if self.position.resume is None:
            try:
                start = await self._start_from_now()
            except Unreadable as exc:
                self._fail(exc)
        self.busy = self._shared.now
        await self._send_message(response_start())
        await self._send(b"retry: %d\n\n%b" % (random.randint(1000, 3000), start))

    async def _start_from_now(self) -> bytes:
        while True:
            past = await self._open_log(None)
            if past.restarts == self._shared.log.restarts:
                break
        self.phase = Phase.LIVE
        return self.position.start_from_now(past)

    async def _finish(self) -> None:
        # Random, so that clients do not all reconnect together after a restart of the server.
        body = b"retry: %d\n\n" % random.randint(500, 5000)
        self.busy = self._shared.now
        await self._send_message({"type": "http.response.body", "body": body, "more_body": False})

    # Live

    async def _follow(self) -> None:
        """Send published events until the stream is to end, or until it lost frames because it is too slow."""
        position, view, shared = self.position, self.position.view, self._shared
        while not position.lagged:
            if self.ending is not None and (position.cursor == view.end or shared.now >= self.end_by):
                await self._send(position.mark())
                self.phase = Phase.ENDING
                return
            if position.cursor < view.end:
                data, count = position.take(shared.buffer)
                shared.counts.frames += count
                if len(data) > SEND_BYTES:
                    # Only the buffer refers to the bytes, so that a thousand slow readers do not keep a thousand events
                    # in memory.
                    del data
                    await self._send_large(position.cursor - 1)
                elif data:
                    await self._send(data)
            elif self.beat:
                await self._send(b"")
            else:
                view.waiting[self.waiter] = None
                try:
                    await self.waiter.wait()
                finally:
                    view.waiting.pop(self.waiter, None)
        if self.ending is not None:
            self.phase = Phase.ENDING
            return
        self.phase = Phase.CATCHING_UP
        shared.counts.lagged += 1

    async def _send_large(self, number: int) -> None:
        """Send one large frame in parts."""
        frames = self.position.view.frames
        start = 0
        while (frame := frames.get(number)) is not None:
            part, more = frame.data[start : start + SEND_BYTES], len(frame.data) > start + SEND_BYTES
            del frame
            if not more:
                await self._send(part)
                return
            await self._send_part(part)
            start += SEND_BYTES
        # Newer frames have displaced it, and the part that was sent cannot be undone. The client resumes before it.
        self.abort("lagged")
        await checkpoint()

    async def _send(self, data: bytes) -> None:
        """Send whole frames, with a heartbeat if one is due."""
        if self.beat:
            self.beat = False
            self._shared.counts.heartbeats += 1
            data += HEARTBEAT
            if self._shared.now >= self._next_mark:
                self._next_mark = self._shared.now + self._shared.mark_interval
                if self.phase is Phase.LIVE:
                    data += self.position.mark()
        if data:
            await self._send_part(data)

    async def _send_part(self, data: bytes) -> None:
        self._shared.counts.sends += 1
        self.busy = self._shared.now
        await self._send_message({"type": "http.response.body", "body": data, "more_body": True})
        self.busy = 0.0

    # Missed events

    async def _catch_up(self) -> None:
        """Send the missed events, then go live."""
        past: Past | None = None
        told = self.position.told
        try:
            if self.ending is None:
                past = await self._find_past()
                await self._send_past(past)
            if self.ending is not None:
                self.phase = Phase.ENDING
            elif past is not None and not past.lost:
                start = self.position.go_live(past, sent=self.position.told != told)
                self.phase = Phase.LIVE
                await self._send(start)
        except Unreadable as exc:
            if past is None or not past.lost:
                self._fail(exc)
        finally:
            self.loaded = 0.0
            if past is not None:
                await past.close()

    def _fail(self, error: Unreadable) -> None:
        self.end(error.reason, self._shared.now)
        self.phase = Phase.ENDING

    async def _send_past(self, past: Past) -> None:
        if past.gap is not None:
            await self._send_gap(past.gap)
        while self.ending is None:
            frames = await past.read()
            if frames is None:
                return
            self.loaded = self._shared.now if isinstance(past, LoggedPast) else 0.0
            await self._send_frames(frames)
            # Otherwise they would stay in memory while the next ones are read.
            del frames

    async def _send_frames(self, frames: Frames) -> None:
        if self.beat:
            await self._send(b"")
        for piece in pieces(frames):
            if piece.last is None:
                await self._send_part(piece.data)
                continue
            self.position.sent(piece.last)
            self._shared.counts.frames += piece.frames
            await self._send(piece.data)
            if self.ending is not None:
                return

    async def _send_gap(self, gap: Gap) -> None:
        self._shared.counts.gaps += 1
        detail = json.dumps({"requested": gap.requested, "oldest": gap.oldest}, separators=(",", ":"))
        await self._send(b"event: gap\ndata: %b\n\n" % detail.encode())

    async def _find_past(self) -> Past:
        """Return the missed events, from memory if they are there."""
        after = self.position.resume
        if not isinstance(after, str):
            return await self._read_log(after)
        past = self._recall(after)
        if past is not None:
            return past
        # Many clients reconnect together after a restart. The first one reads the log, and the others use its result.
        async with self.position.view.loading:
            return self._recall(after) or await self._load(after)

    def _recall(self, after: str) -> Past | None:
        view = self.position.view
        cursor = view.cursor_after(after)
        if cursor is not None:
            return Past(cursor)
        found = view.history_after(after)
        return None if found is None else RememberedPast(*found)

    async def _open_log(self, after: str | int | None) -> Past:
        """Open the log after an event. What is published from now on is ahead of the cursor."""
        view = self.position.view
        cursor = view.end
        self._shared.counts.replays += 1
        restarts = self._shared.log.restarts
        replay = await self._shared.log.open(view, after)
        return Past(cursor, replay, restarts=restarts)

    async def _read_log(self, after: str | int | None) -> LoggedPast:
        return LoggedPast(await self._open_log(after), self._shared.log, self.position.view.feed.tenant)

    async def _load(self, after: str) -> LoggedPast:
        """Open the log and read frames ahead. If that is all of it, keep them for other streams."""
        past = await self._read_log(after)
        try:
            size = await past.read_ahead(HISTORY_BYTES, most=_PAGES_AHEAD)
        except BaseException:
            await past.close()
            raise
        if past.whole and not past.lost and past.begins_after_event and size <= HISTORY_BYTES:
            view = self.position.view
            history = History(after, past.cursor, past.replay, past.ahead, made=self._shared.now)
            self._shared.buffer.remember(view, history)
        return past
