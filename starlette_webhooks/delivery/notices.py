"""Decides which events an attempt makes: about its endpoint for the customer, and operational ones for the operator.

The functions are pure. Each store calls them within the transaction that records the attempt, and stores the events
there, so that a crash loses none and repeats none.
"""

from __future__ import annotations

from datetime import UTC, datetime

from starlette_webhooks.delivery.deliveries import DisabledEndpoint, Outcome
from starlette_webhooks.delivery.records import EndpointState
from starlette_webhooks.event_types import ENDPOINT_DISABLED, ENDPOINT_FAILING
from starlette_webhooks.events import Event, format_time
from starlette_webhooks.operational_events import endpoint_event, operational_event
from starlette_webhooks.payloads import new_event

__all__ = ["FAILING_ATTEMPTS", "endpoint_notices", "may_have_recovered", "message_notice"]

FAILING_ATTEMPTS = 4
"""The failed attempts after which a delivery is reported as failing, as at Svix."""


def endpoint_notices(
    outcome: Outcome,
    before: EndpointState,
    after: EndpointState,
    *,
    operator: str | None,
    disable_after: int,
    milliseconds: int | None = None,
) -> list[Event]:
    """Return the events about a change of the endpoint's state: it was disabled, or will be soon.

    Args:
        operator: The tenant that gets operational events. None for none.
        disable_after: As for `next_state`.
        milliseconds: As for `new_event`.
    """
    delivery = outcome.delivery
    if outcome.silent or delivery.tenant == operator:
        return []
    if after.disabled_reason is not None and before.disabled_reason is None:
        endpoint = DisabledEndpoint(delivery.endpoint_id, delivery.tenant, delivery.url, after.disabled_reason)
        return [
            _disabled_event(endpoint, milliseconds),
            *endpoint_event(
                "disabled",
                endpoint.id,
                tenant=endpoint.tenant,
                operator=operator,
                milliseconds=milliseconds,
                reason=endpoint.reason,
            ),
        ]
    if after.warned_at != before.warned_at and after.failing_since is not None:
        return [_failing_event(outcome, after.failing_since + disable_after, after.failing_since, milliseconds)]
    return []


def _disabled_event(endpoint: DisabledEndpoint, milliseconds: int | None) -> Event:
    data = {"endpointId": endpoint.id, "url": endpoint.url, "reason": endpoint.reason}
    return new_event(ENDPOINT_DISABLED.name, data, tenant=endpoint.tenant, milliseconds=milliseconds)


def _failing_event(outcome: Outcome, disabled_at: int, failing_since: int, milliseconds: int | None) -> Event:
    delivery = outcome.delivery
    data = {
        "endpointId": delivery.endpoint_id,
        "url": delivery.url,
        "failingSince": _text(failing_since),
        "disabledAt": _text(disabled_at),
    }
    return new_event(ENDPOINT_FAILING.name, data, tenant=delivery.tenant, milliseconds=milliseconds)


def may_have_recovered(outcome: Outcome, *, operator: str | None) -> bool:
    """Return whether the store must look up earlier attempts, to tell whether a delivery has recovered."""
    delivery = outcome.delivery
    if not outcome.ok or outcome.silent or operator is None or delivery.tenant == operator:
        return False
    # A manual attempt does not use a step of the schedule, and may follow an exhausted one.
    return delivery.step >= FAILING_ATTEMPTS or delivery.trigger == "manual"


def message_notice(
    outcome: Outcome, *, operator: str | None, recovered: bool = False, milliseconds: int | None = None
) -> Event | None:
    """Return the operational event about the delivery. Store it only if the attempt still held the lease.

    Args:
        recovered: Whether the delivery succeeds for the first time, after it was failing or exhausted.
    """
    delivery = outcome.delivery
    if operator is None or outcome.silent or delivery.tenant == operator or delivery.trigger == "test":
        return None
    event_id = None
    if outcome.ok:
        if not recovered:
            return None
        change = "recovered"
    elif outcome.next_due is None:
        change = "exhausted"
    elif delivery.step == FAILING_ATTEMPTS - 1:
        change = "failing"
        # Manual attempts set the step back, so it may be reached again.
        event_id = f"failing.{delivery.endpoint_id}.{delivery.event_id}"
    else:
        return None
    data = {
        "tenant": delivery.tenant,
        "endpointId": delivery.endpoint_id,
        "eventId": delivery.event_id,
        "eventType": delivery.event_type,
        "lastAttempt": {
            "id": outcome.attempt_id,
            "number": delivery.number,
            "timestamp": _text(outcome.started),
            "statusCode": outcome.status_code,
            "error": outcome.error,
        },
    }
    name = f"message.attempt.{change}"
    return operational_event(name, data, operator=operator, milliseconds=milliseconds, event_id=event_id)


def _text(milliseconds: int) -> str:
    return format_time(datetime.fromtimestamp(milliseconds / 1000, UTC))
