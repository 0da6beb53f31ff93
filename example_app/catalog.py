"""The event types of this product. Replace them with your own."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from starlette_webhooks import EventType

__all__ = ["EVENT_TYPES"]


class Data(BaseModel):
    """The `data` of an event, in camelCase as customers see it."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class APIKeyCreated(Data):
    """`data` of `api_key.created`."""

    api_key_id: str
    name: str
    scopes: list[str]


class APIKeyRevoked(Data):
    """`data` of `api_key.revoked`."""

    api_key_id: str
    name: str


class SubscriptionCreated(Data):
    """`data` of `subscription.created`."""

    subscription_id: str
    customer_id: str


class SubscriptionUpdated(Data):
    """`data` of `subscription.updated`."""

    subscription_id: str
    customer_id: str
    status: str
    cancel_at_period_end: bool


class SubscriptionCanceled(Data):
    """`data` of `subscription.canceled`."""

    subscription_id: str
    customer_id: str


class InvoicePaymentSucceeded(Data):
    """`data` of `invoice.payment_succeeded`. Amounts are in the smallest unit of the currency."""

    invoice_id: str
    subscription_id: str | None
    amount_paid: int
    currency: str


class InvoicePaymentFailed(Data):
    """`data` of `invoice.payment_failed`. Amounts are in the smallest unit of the currency."""

    invoice_id: str
    subscription_id: str | None
    amount_due: int
    currency: str
    attempt_count: int


EVENT_TYPES = [
    EventType(
        "api_key.created",
        label="API key created",
        category="API keys",
        description="Someone created an API key. The key itself is not sent.",
        schema=APIKeyCreated,
        example={"apiKeyId": "key_4f1c", "name": "prod-key", "scopes": ["documents:read"]},
    ),
    EventType(
        "api_key.revoked",
        label="API key revoked",
        category="API keys",
        description="Someone revoked an API key. It no longer works.",
        schema=APIKeyRevoked,
        example={"apiKeyId": "key_4f1c", "name": "prod-key"},
    ),
    EventType(
        "subscription.created",
        category="Billing",
        description="A checkout was completed and the subscription began.",
        schema=SubscriptionCreated,
        example={"subscriptionId": "sub_123", "customerId": "cus_123"},
    ),
    EventType(
        "subscription.updated",
        category="Billing",
        description="The plan or the state of a subscription changed.",
        schema=SubscriptionUpdated,
        example={
            "subscriptionId": "sub_123",
            "customerId": "cus_123",
            "status": "past_due",
            "cancelAtPeriodEnd": False,
        },
    ),
    EventType(
        "subscription.canceled",
        category="Billing",
        description="A subscription ended.",
        schema=SubscriptionCanceled,
        example={"subscriptionId": "sub_123", "customerId": "cus_123"},
    ),
    EventType(
        "invoice.payment_succeeded",
        category="Billing",
        description="An invoice was paid.",
        schema=InvoicePaymentSucceeded,
        example={"invoiceId": "in_123", "subscriptionId": "sub_123", "amountPaid": 9900, "currency": "eur"},
    ),
    EventType(
        "invoice.payment_failed",
        category="Billing",
        description="An invoice could not be paid. Stripe may try again.",
        schema=InvoicePaymentFailed,
        example={
            "invoiceId": "in_123",
            "subscriptionId": "sub_123",
            "amountDue": 9900,
            "currency": "eur",
            "attemptCount": 1,
        },
    ),
    # A new event type needs only this line, and an `emit` where it happens.
    EventType("document.created", label="Document created", category="Documents"),
]
"""What customers can subscribe to."""
