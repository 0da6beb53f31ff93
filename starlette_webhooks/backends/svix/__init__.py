"""The Svix backend: stores events in an outbox until Svix has accepted them, and lets Svix deliver them."""

from __future__ import annotations

from starlette_webhooks.backends.svix.backend import SvixBackend
from starlette_webhooks.relay.outbox import DeadLetter

__all__ = ["DeadLetter", "SvixBackend"]
