"""What all streams of a process share."""

from __future__ import annotations

from starlette_webhooks.streams.buffer import Buffer
from starlette_webhooks.streams.counts import Counts
from starlette_webhooks.streams.past import LogReader

__all__ = ["Shared"]


class Shared:
    """Memory, counters, access to the log, and the time.

    Attributes:
        now: Seconds, as of the last tick. Streams read it for each send, where calling the clock would be expensive.
        mark_interval: Seconds after which an idle client gets a newer id to resume from.
    """

    __slots__ = ("buffer", "counts", "log", "mark_interval", "now")

    def __init__(self, buffer: Buffer, counts: Counts, log: LogReader, *, now: float, mark_interval: float) -> None:
        self.buffer = buffer
        self.counts = counts
        self.log = log
        self.now = now
        self.mark_interval = mark_interval
