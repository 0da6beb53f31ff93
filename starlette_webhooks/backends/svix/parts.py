"""Assembles the parts of the Svix backend that call Svix."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from starlette_webhooks.backends.svix.applications import Applications
from starlette_webhooks.backends.svix.attempts import Attempts
from starlette_webhooks.backends.svix.catalog import Catalog
from starlette_webhooks.backends.svix.client import SvixClient
from starlette_webhooks.backends.svix.delivering import Delivering
from starlette_webhooks.backends.svix.endpoints import Endpoints
from starlette_webhooks.backends.svix.forwarding import SvixForwarding
from starlette_webhooks.backends.svix.messages import Messages
from starlette_webhooks.backends.svix.portal import Portal
from starlette_webhooks.backends.svix.streaming import Streaming

if TYPE_CHECKING:
    from starlette_webhooks.relay.clock import TimeSource
    from starlette_webhooks.relay.outbox import OutboxStore
    from starlette_webhooks.settings import WebhooksSettings

__all__ = ["SvixParts"]


class SvixParts:
    """A client, and a part for each kind of object at Svix.

    Args:
        ready: Awaited before a call that needs the event types to be registered.
    """

    def __init__(
        self,
        settings: WebhooksSettings,
        outbox: OutboxStore,
        time: TimeSource,
        *,
        ready: Callable[[], Awaitable[None]],
        poll: tuple[float, float],
        overlap: float,
        archive_event_types: bool,
    ) -> None:
        self.client = client = SvixClient(settings, time)
        self.applications = Applications(client)
        self.messages = Messages(client)
        self.streaming = Streaming(self.messages, time, poll=poll, overlap=overlap)
        self.endpoints = Endpoints(client, self.applications, most=settings.endpoints_per_tenant, ready=ready)
        self.attempts = Attempts(client, self.messages)
        self.delivering = Delivering(client, self.endpoints, self.messages)
        self.catalog = Catalog(client, outbox, archive=archive_event_types)
        self.portal = Portal(client, self.applications)
        self.forwarding = SvixForwarding(client, self.applications, self.messages, self.streaming.forwarded)
