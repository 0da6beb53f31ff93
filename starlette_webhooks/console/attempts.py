"""Deliveries and attempts, as the pages list them."""

from __future__ import annotations

from collections.abc import Mapping

from starlette_webhooks.attempts import Attempt
from starlette_webhooks.console.html import Child, Markup, tag
from starlette_webhooks.console.parts import counted, pill
from starlette_webhooks.console.visit import Visit
from starlette_webhooks.endpoints import without_query
from starlette_webhooks.event_states import DeliveryState, EventDelivery, UnsentReason
from starlette_webhooks.undelivered import Undelivered

__all__ = [
    "STATES",
    "UNSENT",
    "answer",
    "attempt_pill",
    "delivery_pill",
    "event_link",
    "last_answer",
    "shown_url",
    "tenant_link",
]

UNSENT: Mapping[UnsentReason, str] = {
    "event_type": "Not subscribed to this event type",
    "channel": "Not subscribed to the channels of this event",
    "added_later": "Added after this event",
    "disabled": "Disabled",
    "test": "This is a test event of another endpoint",
    "changed_since": "Disabled or not subscribed at that time",
}
"""Why an event was not sent to an endpoint, in the same words as in the portal."""

STATES: Mapping[DeliveryState, tuple[str, str]] = {
    "delivered": ("good", "Delivered"),
    "waiting": ("quiet", "Waiting"),
    "failing": ("warn", "Retrying"),
    "exhausted": ("bad", "Given up"),
}
"""The states of deliveries: the kind of the pill, and the word in it, which is the same in the portal."""


def delivery_pill(state: DeliveryState, *, disabled: bool = False) -> Markup:
    """Return the state of a delivery in one word.

    Args:
        disabled: Whether the endpoint is disabled.
    """
    return pill("quiet", "Disabled") if disabled else pill(*STATES[state])


def attempt_pill(attempt: Attempt) -> Markup:
    """Return the result of an attempt."""
    if attempt.status == "success":
        return pill("good", f"HTTP {attempt.status_code}")
    return pill("bad", f"HTTP {attempt.status_code}" if attempt.status_code else "No response")


def answer(status_code: int, error: str) -> str:
    """Return the last answer in words."""
    return f"HTTP {status_code}" if status_code else error or "No response"


def last_answer(one: EventDelivery | Undelivered) -> str:
    """Return the last answer to a delivery, and how many attempts there were."""
    if not one.attempts:
        return "No attempt"
    return f"{answer(one.status_code, one.error)} · {counted(one.attempts, 'attempt')}"


def shown_url(url: str) -> str:
    """Return a URL without its query, which may contain a secret of the customer."""
    shown = without_query(url)
    return shown if shown == url else f"{shown}?…"


def event_link(visit: Visit, event_id: str, event_type: str) -> list[Child]:
    """Return a link to an event, with its id below."""
    link = tag("a", event_type, href=visit.link("events", event_id), class_="strong break")
    return [link, tag("div", tag("span", event_id, class_="mono break"), class_="under")]


def tenant_link(visit: Visit, tenant: str) -> Markup:
    """Return a link to the endpoints of a tenant."""
    return tag("a", tenant, href=visit.link("endpoints", tenant=tenant), class_="break")
