"""Numbers that all stores agree on."""

from __future__ import annotations

__all__ = ["DUE_ENDPOINTS", "LIVE_SECRETS", "LOOKED_AT", "OVERLAP_MS", "PAGE_BYTES", "REPLAY_EVENTS", "SOON_MS"]

DUE_ENDPOINTS = 1000
"""Endpoints with deliveries that one call looks at."""
LIVE_SECRETS = 10
"""Secrets of one endpoint that may be valid at the same time."""
LOOKED_AT = 5000
"""Attempts that one page looks at. A filter that few of them pass ends the page early."""
OVERLAP_MS = 24 * 3600 * 1000
"""How long a secret stays valid after its rotation."""
PAGE_BYTES = 8_388_608
"""Payloads that one page, or one read of the log's tail, contains. One event may exceed it."""
REPLAY_EVENTS = 500
"""Events that one read of a replay looks at."""
SOON_MS = 30_000
"""A retry that is due within this time is not brought forward by recovering."""
