"""The Svix engine: a durable outbox here, deliveries at Svix."""

from __future__ import annotations

from starlette_webhooks.backends.svix.backend import SvixBackend
from starlette_webhooks.stores.sqlite.outbox import Parked

__all__ = ["Parked", "SvixBackend"]
