"""Receive webhooks in your app: verify them, and handle each one once.

receiver = WebhookReceiver("whsec_...", seen=SQLiteSeenIds("seen.db"))

async def hook(request: Request) -> Response:
    async with receiver.receive(request) as webhook:
        await handle(webhook.event_type, webhook.data)
    return Response(status_code=204)
"""

from __future__ import annotations

from starlette_webhooks.receiving.errors import AlreadyHandled, BeingHandled, BodyTooLarge, WebhookRefused
from starlette_webhooks.receiving.receiver import ReceivedWebhook, WebhookReceiver
from starlette_webhooks.receiving.seen import MemorySeenIds, SeenIds, SeenState
from starlette_webhooks.receiving.sqlite import SQLiteSeenIds

__all__ = [
    "AlreadyHandled",
    "BeingHandled",
    "BodyTooLarge",
    "MemorySeenIds",
    "ReceivedWebhook",
    "SQLiteSeenIds",
    "SeenIds",
    "SeenState",
    "WebhookReceiver",
    "WebhookRefused",
]
