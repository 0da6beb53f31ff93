"""Turns Stripe's webhooks into our own events. Independent of frameworks."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from stripe import SignatureVerificationError, WebhookSignature

from example_app.workspace import Refused, Workspace

__all__ = ["Occurrence", "read_stripe"]

_TOLERANCE = 300


@dataclass(frozen=True, slots=True)
class Occurrence:
    """An event to emit. `event_id` is Stripe's, so a webhook that Stripe repeats is emitted once."""

    tenant: str
    event_type: str
    data: dict[str, Any]
    event_id: str


def read_stripe(workspace: Workspace, secret: str, body: bytes, signature: str | None) -> Occurrence | None:
    """Verify a webhook from Stripe, and return our event for it, or None if there is none.

    Raises:
        Refused: The webhook is not signed by Stripe, or is about a customer we do not know (yet). Stripe sends it
            again.
    """
    if not secret:
        raise Refused(503, "not_configured", "Set `STRIPE_WEBHOOK_SECRET` to receive webhooks from Stripe.")
    try:
        WebhookSignature.verify_header(body, signature, secret, _TOLERANCE)
        event = json.loads(body)
        kind, event_id, stripe = str(event["type"]), str(event["id"]), event["data"]["object"]
    except (SignatureVerificationError, ValueError, KeyError, TypeError):
        raise Refused(400, "invalid_signature", "This webhook is not signed by Stripe.") from None
    if kind == "checkout.session.completed" and stripe.get("mode") == "subscription":
        _link(workspace, stripe)
    translation = _translate(kind, stripe)
    if translation is None:
        return None
    owner = workspace.customer(stripe["customer"])
    if owner is None:
        raise Refused(404, "unknown_customer", "There is no user with this customer id.")
    return Occurrence(owner, *translation, event_id)


def _link(workspace: Workspace, session: dict[str, Any]) -> None:
    # The checkout was created with `client_reference_id=user.id`, so this event contains the customer's id.
    user = workspace.user(session.get("client_reference_id"))
    if user is not None:
        workspace.link_customer(session["customer"], user.id)


def _translate(kind: str, stripe: dict[str, Any]) -> tuple[str, dict[str, Any]] | None:
    match kind:
        case "checkout.session.completed" if stripe.get("mode") == "subscription":
            data = {"subscriptionId": stripe["subscription"], "customerId": stripe["customer"]}
            return "subscription.created", data
        case "customer.subscription.updated":
            data = {
                "subscriptionId": stripe["id"],
                "customerId": stripe["customer"],
                "status": stripe["status"],
                "cancelAtPeriodEnd": bool(stripe.get("cancel_at_period_end")),
            }
            return "subscription.updated", data
        case "customer.subscription.deleted":
            return "subscription.canceled", {"subscriptionId": stripe["id"], "customerId": stripe["customer"]}
        case "invoice.payment_succeeded":
            return "invoice.payment_succeeded", _invoice(stripe) | {"amountPaid": stripe["amount_paid"]}
        case "invoice.payment_failed":
            data = {"amountDue": stripe["amount_due"], "attemptCount": stripe["attempt_count"]}
            return "invoice.payment_failed", _invoice(stripe) | data
    return None


def _invoice(invoice: dict[str, Any]) -> dict[str, Any]:
    # Since version 2025-03-31, the subscription is below `parent` in Stripe's API.
    parent = (invoice.get("parent") or {}).get("subscription_details") or {}
    return {
        "invoiceId": invoice["id"],
        "subscriptionId": parent.get("subscription") or invoice.get("subscription"),
        "currency": invoice["currency"],
    }
