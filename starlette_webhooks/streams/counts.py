"""The counters of a hub, for the operator."""

from __future__ import annotations

from collections import Counter

__all__ = ["Counts"]


class Counts:
    """Counters since the hub was created.

    Attributes:
        opened: Streams that were opened.
        frames: Events sent, counted once per stream.
        sends: Body messages sent, including heartbeats.
        heartbeats: Heartbeats sent, alone or with events.
        lagged: How often a slow reader lost frames in memory and had to read the log.
        stalled: Readers that were aborted because they did not read at all.
        replays: How often the log was read for past events.
        gaps: Streams that could not resume after the requested event.
        rejected: Streams refused at a limit or while stopping.
        closed: Ended streams by reason.
    """

    __slots__ = (
        "closed",
        "frames",
        "gaps",
        "heartbeats",
        "lagged",
        "opened",
        "rejected",
        "replays",
        "sends",
        "stalled",
    )

    def __init__(self) -> None:
        self.frames = self.sends = self.heartbeats = self.lagged = self.stalled = 0
        self.opened = self.replays = self.gaps = self.rejected = 0
        self.closed: Counter[str] = Counter()
