"""The outbox: events that are written in the host's own transaction, and exist if and only if it commits."""

from __future__ import annotations

from starlette_webhooks.outbox.outbox import Outbox

__all__ = ["Outbox"]
