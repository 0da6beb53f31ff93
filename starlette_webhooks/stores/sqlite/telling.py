"""Changes of endpoints together with the operational events about them. The functions run on the database's thread."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from starlette_webhooks.endpoints import Endpoint, EndpointChanges
from starlette_webhooks.events import Event
from starlette_webhooks.operational_events import endpoint_event
from starlette_webhooks.stores.sqlite import endpoints
from starlette_webhooks.stores.sqlite.insertion import Insertion

__all__ = ["Told", "create_endpoint", "delete_endpoint", "update_endpoint"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Told(Generic[T]):
    """The result of a change, and whether events about it were stored."""

    result: T
    any_events: bool


def _tell(connection: sqlite3.Connection, result: T, events: Sequence[Event]) -> Told[T]:
    if events:
        Insertion(events)(connection)
    return Told(result, bool(events))


def create_endpoint(
    connection: sqlite3.Connection,
    *,
    tenant: str,
    changes: EndpointChanges,
    now: int,
    limit: int,
    operator: str | None,
) -> Told[Endpoint]:
    """See `endpoints.create_endpoint`."""
    made = endpoints.create_endpoint(connection, tenant, changes, now, limit)
    return _tell(connection, made, endpoint_event("created", made.id, tenant=tenant, operator=operator))


def update_endpoint(
    connection: sqlite3.Connection,
    *,
    tenant: str,
    identifier: str,
    changes: EndpointChanges,
    now: int,
    operator: str | None,
) -> Told[Endpoint | None]:
    """See `endpoints.update_endpoint`."""
    before = None if operator is None else endpoints.get_endpoint(connection, tenant, identifier)
    updated = endpoints.update_endpoint(connection, tenant, identifier, changes, now)
    events: list[Event] = []
    if before is not None and updated is not None:
        events += endpoint_event("updated", identifier, tenant=tenant, operator=operator)
        if updated.disabled and not before.disabled:
            events += endpoint_event("disabled", identifier, tenant=tenant, operator=operator, reason="manual")
    return _tell(connection, updated, events)


def delete_endpoint(
    connection: sqlite3.Connection, *, tenant: str, identifier: str, operator: str | None
) -> Told[int | None]:
    """See `endpoints.delete_endpoint`."""
    number = endpoints.delete_endpoint(connection, tenant, identifier)
    events = [] if number is None else endpoint_event("deleted", identifier, tenant=tenant, operator=operator)
    return _tell(connection, number, events)
