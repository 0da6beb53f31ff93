"""Server-sent events: `StreamHub` serves all streams of a process from one tail of the log.

A stream is a cursor over the ordered log, the memory in between is a cache of the log's tail, and a wake is but a hint.
"""

from __future__ import annotations

from starlette_webhooks.streams.hub import StreamHub, Unavailable

__all__ = ["StreamHub", "Unavailable"]
