"""Limits that all stores share."""

from __future__ import annotations

__all__ = [
    "DUE_ENDPOINTS",
    "LIST_BYTES",
    "LIVE_SECRETS",
    "LOOKED_AT",
    "PAGE_BYTES",
    "REPLAY_EVENTS",
    "SOON_MS",
    "STAMPED_AHEAD",
]

DUE_ENDPOINTS = 1000
"""The maximum of endpoints with deliveries that one call looks at."""
LIST_BYTES = 262_144
"""The maximum of bytes in one page of endpoints or attempts, which are encoded on the event loop. One may exceed it."""
LIVE_SECRETS = 10
"""The maximum of valid secrets per endpoint."""
LOOKED_AT = 5000
"""The maximum of attempts that one page looks at. With a filter that few attempts match, the page ends early."""
PAGE_BYTES = 8_388_608
"""The maximum of payload bytes in one page, or in one read of the log's tail. A single event may exceed it."""
REPLAY_EVENTS = 500
"""The maximum of events that one read of a replay looks at."""
SOON_MS = 30_000
"""Recovery leaves a retry unchanged if it is due within this time."""
STAMPED_AHEAD = 10_000
"""Milliseconds by which a stored time may be later than now, although no clock was ahead: a statement that waits for a
connection or a lock uses the time at which it began to wait."""
