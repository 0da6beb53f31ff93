"""What a hub counts, for the operator."""

from __future__ import annotations

from collections import Counter

__all__ = ["Counts"]


class Counts:
    """What has happened since the hub was made.

    Attributes:
        opened: Streams that were begun.
        frames: Events sent, counted once for each stream.
        sends: Pieces of body that they took, heartbeats included.
        heartbeats: Heartbeats sent, alone or with events.
        lagged: How often a slow reader lost its place in memory and read the log again.
        stalled: Readers cut off because they did not read at all.
        replays: How often the log was asked for the past.
        gaps: Streams that could not resume where they left off.
        rejected: Streams refused at a limit or while stopping.
        closed: Streams by how they ended.
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
