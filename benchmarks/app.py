"""The app that all subjects measure: one event type, one tenant, one body."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from starlette_webhooks import Webhooks

__all__ = ["BODY", "EVENT_TYPE", "make_webhooks"]

BODY = '{"invoice":"in_1PQ","amountPaid":9900,"currency":"eur","customer":{"id":"cus_42","email":"a@example.com"}}'
EVENT_TYPE = "invoice.payment_succeeded"


def make_webhooks(event_types: Sequence[str] = (), **settings: Any) -> Webhooks:
    """Return a `Webhooks` in which every request belongs to one tenant."""
    from starlette_webhooks import Principal, Webhooks, WebhooksSettings

    async def authenticate(connection: object) -> Principal:
        # A sync function would run in a thread, which is not measured here.
        return Principal("acme", ["webhooks:read", "webhooks:write"])

    return Webhooks(
        event_types=[EVENT_TYPE, *event_types],
        tenant=lambda connection: "acme",
        authenticate=authenticate,
        settings=WebhooksSettings(database=os.environ.get("BENCH_DATABASE", ":memory:"), **settings),
    )
