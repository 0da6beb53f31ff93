"""Fields of log records, for programs: the attribute `webhooks` of a record is a dict with an `action`.

The names of actions and fields are stable. The messages are for people, and may change.
"""

from __future__ import annotations

from typing import Any

__all__ = ["log_fields"]


def log_fields(action: str, **details: str | int | float | None) -> dict[str, Any]:
    """Return `extra` for a log call.

    Args:
        details: `tenant`, `endpointId`, `eventId`, `attemptId` and others, as in operational events.
    """
    return {"webhooks": {"action": action, **details}}
