"""Operational events: what happens to endpoints and deliveries of all tenants, for the operator. Named as at Svix.

They are events of the operator's tenant (`WEBHOOKS_OPERATOR_TENANT`), and stores insert them in the transaction of the
change that they report. Nothing that happens to the operator's own endpoints makes one.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from starlette_webhooks.event_types import EventType, EventTypes
from starlette_webhooks.events import Event
from starlette_webhooks.payloads import new_event

__all__ = ["OPERATIONAL_TYPES", "catalog_of", "endpoint_event", "operational_event"]

_CATEGORY = "Operations"
_ENDPOINT = {"tenant": "acme", "endpointId": "ep_2xYbnVn4gvBVd3z7qjHqSAPrGvi"}
_MESSAGE = {
    **_ENDPOINT,
    "eventId": "msg_2xYbnVn4gvBVd3z7qjHqSAPrGvi",
    "eventType": "invoice.paid",
    "lastAttempt": {
        "id": "atmpt_2xYbnVn4gvBVd3z7qjHqSAPrGvi",
        "number": 4,
        "timestamp": "2026-11-25T08:00:00.000Z",
        "statusCode": 500,
        "error": "",
    },
}


def _type(name: str, description: str, example: Mapping[str, Any]) -> EventType:
    return EventType(name, category=_CATEGORY, description=description, example=dict(example))


OPERATIONAL_TYPES = (
    _type("endpoint.created", "An endpoint was created.", _ENDPOINT),
    _type("endpoint.updated", "An endpoint was changed.", _ENDPOINT),
    _type("endpoint.deleted", "An endpoint was deleted.", _ENDPOINT),
    _type(
        "endpoint.disabled",
        "An endpoint was disabled: by hand (`manual`), because it answered 410 (`gone`), or because it failed for days "
        "(`failing`).",
        {**_ENDPOINT, "reason": "failing"},
    ),
    _type("message.attempt.failing", "The first four attempts of a delivery failed. It is retried.", _MESSAGE),
    _type("message.attempt.exhausted", "The last attempt of a delivery failed. It is not retried.", _MESSAGE),
    _type("message.attempt.recovered", "A delivery succeeded after it was failing or exhausted.", _MESSAGE),
)
"""The types of operational events."""


def catalog_of(tenant: str, catalog: EventTypes, operator: str | None) -> EventTypes:
    """Return the catalog of a tenant: that of the host, and for the operator's tenant also operational events."""
    return catalog if operator is None or tenant != operator else _with_operational(catalog)


@lru_cache(maxsize=8)
def _with_operational(catalog: EventTypes) -> EventTypes:
    names = {event_type.name for event_type in OPERATIONAL_TYPES}
    return EventTypes([*(one for one in catalog if one.name not in names), *OPERATIONAL_TYPES])


def operational_event(
    name: str,
    data: Mapping[str, Any],
    *,
    operator: str,
    milliseconds: int | None = None,
    event_id: str | None = None,
) -> Event:
    """Create an operational event. `milliseconds` and `event_id` as for `new_event`."""
    return new_event(name, dict(data), tenant=operator, milliseconds=milliseconds, event_id=event_id)


def endpoint_event(
    change: str,
    endpoint_id: str,
    *,
    tenant: str,
    operator: str | None,
    milliseconds: int | None = None,
    **details: Any,
) -> list[Event]:
    """Return the event that an endpoint was `created`, `updated`, `deleted` or `disabled`.

    Empty if there is no operator, or if the endpoint is the operator's own.
    """
    if operator is None or tenant == operator:
        return []
    data = {"tenant": tenant, "endpointId": endpoint_id, **details}
    return [operational_event(f"endpoint.{change}", data, operator=operator, milliseconds=milliseconds)]
