"""The Svix backend: stores events in an outbox until Svix has accepted them, and lets Svix deliver them."""

from __future__ import annotations

from starlette_webhooks.backends.svix.backend import SvixBackend

__all__ = ["SvixBackend"]
