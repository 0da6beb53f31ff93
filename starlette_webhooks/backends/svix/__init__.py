"""The Svix backend: a durable outbox here, deliveries at Svix."""

from __future__ import annotations

from starlette_webhooks.backends.svix.backend import SvixBackend
from starlette_webhooks.relay.outbox import DeadLetter

__all__ = ["DeadLetter", "SvixBackend"]
