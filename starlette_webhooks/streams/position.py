"""The position of a stream in its view, and what it sends next. Without input or output."""

from __future__ import annotations

from starlette_webhooks.feed import Replay
from starlette_webhooks.streams.buffer import Buffer
from starlette_webhooks.streams.frames import SEND_BYTES, SEND_FRAMES
from starlette_webhooks.streams.past import Past
from starlette_webhooks.streams.views import View

__all__ = ["Position"]


class Position:
    """A cursor over a view, and the id after which its client would resume.

    Attributes:
        cursor: The number of the next frame of the view.
        resume: The id or position after which to read the log if frames are lost: that of the last sent event, or of
            the start. None before the start of a stream that has asked for nothing.
        told: The last id that the client received.
    """

    __slots__ = ("_replay", "_settled", "cursor", "resume", "told", "view")

    def __init__(self, view: View, last_event_id: str | None) -> None:
        self.view = view
        self.cursor = view.end
        self.resume: str | int | None = last_event_id
        self.told = last_event_id
        # Says which published entries the replay has already sent, until they are past it.
        self._replay: Replay | None = None
        self._settled = 0

    @property
    def lagged(self) -> bool:
        """Whether memory no longer holds the next frame."""
        return self.cursor < self.view.base

    def start_from_now(self, past: Past) -> bytes:
        """Go live without a replay. Leaves out entries that were committed before, even if they are published later.

        Returns a bare id for the client, which may have to resume before the next event.
        """
        replay = past.replay
        assert replay is not None
        self.cursor = past.cursor
        self._replay = replay
        self._settled = self.view.end
        self.resume = replay.position
        self.told = None
        return b"" if replay.last_id is None else self._tell(replay.last_id)

    def go_live(self, past: Past, *, sent: bool) -> bytes:
        """Continue with published entries, because everything before has been sent.

        Returns a bare id for the client if the one it asked for must not be requested again.

        Args:
            sent: Whether there was anything to send.
        """
        if not sent and past.replay is not None and past.replay.last_id is not None:
            return self.start_from_now(past)
        self.cursor = past.cursor
        self._replay = past.replay
        self._settled = self.view.end
        return b""

    def restart(self) -> None:
        """Continue by id, because positions have a new meaning from now on."""
        # A stream that has been sent nothing, of a tenant that had nothing, is to get everything.
        self.resume = 0 if self.told is None else self.told
        self._replay = None

    def sent(self, identifier: str) -> None:
        """Note that a replayed event has been sent."""
        self.resume = self.told = identifier

    def take(self, buffer: Buffer) -> tuple[bytes, int]:
        """Return the next frames that fit into one send, and their number. There must be at least one."""
        if self._replay is not None:
            return self._take_unsent(self._replay)
        data, stop = buffer.chunk(self.view, self.cursor)
        entry = self.view.frames[stop - 1].entry
        count = stop - self.cursor
        self.cursor = stop
        self.resume = entry.position
        self.told = entry.event.id
        return data, count

    def _take_unsent(self, replay: Replay) -> tuple[bytes, int]:
        """Return the next frames without those that the replay has sent."""
        view = self.view
        parts: list[bytes] = []
        size = 0
        while self.cursor < view.end and len(parts) < SEND_FRAMES and size < SEND_BYTES:
            frame = view.frames[self.cursor]
            covered = replay.covers(frame.entry)
            if not covered:
                if self.cursor >= self._settled:
                    # From here on, this stream sends the same as all others.
                    self._replay = None
                    break
                if parts and size + len(frame.data) > SEND_BYTES:
                    break
            self.cursor += 1
            if covered:
                continue
            parts.append(frame.data)
            size += len(frame.data)
            self.resume = frame.entry.position
            self.told = frame.entry.event.id
        return b"".join(parts), len(parts)

    def mark(self) -> bytes:
        """Return a bare id that moves the resume point past filtered events, or nothing if there are none."""
        view = self.view
        last = view.feed.last
        if self.cursor != view.end or last is None or (self._replay is not None and self._replay.covers(last)):
            return b""
        self.resume = last.position
        self._replay = None
        if last.event.id == self.told:
            return b""
        view.mark(last.event.id)
        return self._tell(last.event.id)

    def _tell(self, identifier: str) -> bytes:
        self.told = identifier
        return b"id: %b\n\n" % identifier.encode()
