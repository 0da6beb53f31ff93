"""Server-Sent Events: `StreamHub` serves all streams of a process from one tail of the log.

A stream is a cursor over the ordered log. Memory caches the end of the log. A wake-up is only a hint.
"""

from __future__ import annotations

from starlette_webhooks.streams.hub import StreamHub, Timing, Unavailable
from starlette_webhooks.streams.response import StreamResponse, TemporaryRefusal

__all__ = ["StreamHub", "StreamResponse", "TemporaryRefusal", "Timing", "Unavailable"]
