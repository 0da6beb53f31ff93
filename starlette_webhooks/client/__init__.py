"""A client of the HTTP API, for those who consume events. It does not import the server side.

async with Client("https://api.example.com/api/v1/webhooks", key="sk_...") as client:
    async for event in client.stream(after=saved, event_types=["invoice.paid"]):
        await handle(event)
        saved = event.id
"""

from __future__ import annotations

from starlette_webhooks.client.async_client import Client, Pages
from starlette_webhooks.client.async_stream import EventStream
from starlette_webhooks.client.errors import APIError, ClientError, ConnectionFailed, Gap, KeyRefused, NotFound
from starlette_webhooks.client.objects import Attempt, Endpoint, Event, EventType
from starlette_webhooks.client.sync_client import SyncClient
from starlette_webhooks.client.sync_stream import SyncEventStream

__all__ = [
    "APIError",
    "Attempt",
    "Client",
    "ClientError",
    "ConnectionFailed",
    "Endpoint",
    "Event",
    "EventStream",
    "EventType",
    "Gap",
    "KeyRefused",
    "NotFound",
    "Pages",
    "SyncClient",
    "SyncEventStream",
]
