"""Endpoints in SQLite, with their subscriptions and secrets. The functions run on the database's threads."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any

from starlette_webhooks.conflicts import endpoint_limit, same_secret, too_many_secrets
from starlette_webhooks.delivery.origins import bound_to_origin
from starlette_webhooks.endpoints import Endpoint, EndpointChanges
from starlette_webhooks.identifiers import mint
from starlette_webhooks.pagination import Page
from starlette_webhooks.signing import generate_secret
from starlette_webhooks.stores.limits import LIVE_SECRETS
from starlette_webhooks.stores.moments import from_ms
from starlette_webhooks.stores.rows import page_of, to_endpoint
from starlette_webhooks.stores.sqlite.queries import load_queries
from starlette_webhooks.stores.sqlite.secrets import overwriting

__all__ = [
    "create_endpoint",
    "delete_endpoint",
    "delete_leftovers",
    "get_endpoint",
    "get_secret",
    "list_endpoints",
    "rotate_secret",
    "update_endpoint",
]

_QUERIES = load_queries("endpoints.sql")


def _row(connection: sqlite3.Connection, tenant: str, identifier: str) -> Sequence[Any] | None:
    row: Sequence[Any] | None = connection.execute(_QUERIES["get"], (tenant, identifier)).fetchone()
    return row


def _columns(endpoint: Endpoint) -> dict[str, Any]:
    return {
        "url": endpoint.url,
        "description": endpoint.description,
        "event_types": json.dumps(endpoint.event_types),
        "channels": json.dumps(endpoint.channels),
        "disabled_reason": endpoint.disabled_reason,
        "rate_limit": endpoint.rate_limit,
        "metadata": json.dumps(dict(endpoint.metadata)),
        "headers": json.dumps(dict(endpoint.headers)),
    }


def _changed(endpoint: Endpoint, changes: EndpointChanges, now: int) -> Endpoint:
    given = changes.given()
    given.pop("secret", None)
    if "disabled" in given:
        given["disabled_reason"] = (endpoint.disabled_reason or "manual") if given["disabled"] else None
    values = {name: getattr(endpoint, name) for name in Endpoint.__slots__}
    return Endpoint(**{**values, **given, "updated_at": from_ms(now)})


def list_endpoints(connection: sqlite3.Connection, tenant: str, limit: int, cursor: str | None) -> Page[Endpoint]:
    """A page, newest first. A page of more than 256 KiB ends early."""
    rows = connection.execute(_QUERIES["list"], (tenant, cursor or "ep_~", limit + 1))
    return page_of(rows, limit, lambda row: to_endpoint(row[1:]), lambda endpoint: endpoint.id)


def get_endpoint(connection: sqlite3.Connection, tenant: str, identifier: str) -> Endpoint | None:
    """One endpoint of the tenant."""
    row = _row(connection, tenant, identifier)
    return None if row is None else to_endpoint(row[1:])


def number_of(connection: sqlite3.Connection, tenant: str, identifier: str) -> int | None:
    """Return the number that identifies an endpoint in deliveries."""
    row = _row(connection, tenant, identifier)
    return None if row is None else int(row[0])


def create_endpoint(
    connection: sqlite3.Connection, tenant: str, changes: EndpointChanges, now: int, limit: int
) -> Endpoint:
    """Create an endpoint with a secret, unless the tenant already has `limit` endpoints."""
    (count,) = connection.execute(_QUERIES["count"], (tenant,)).fetchone()
    if count >= limit:
        raise endpoint_limit(count)
    blank = Endpoint(id=mint("ep_"), tenant=tenant, url="", created_at=from_ms(now), updated_at=from_ms(now))
    endpoint = _changed(blank, changes, now)
    values = {**_columns(endpoint), "id": endpoint.id, "tenant": tenant, "now": now}
    no = connection.execute(_QUERIES["insert"], values).lastrowid
    assert no is not None
    secret = changes.secret if isinstance(changes.secret, str) else generate_secret()
    connection.execute(_QUERIES["insert_secret"], (no, now, secret))
    _subscribe(connection, no, endpoint)
    return endpoint


def update_endpoint(
    connection: sqlite3.Connection, tenant: str, identifier: str, changes: EndpointChanges, now: int
) -> Endpoint | None:
    """See `EndpointStore.update_endpoint`."""
    row = _row(connection, tenant, identifier)
    if row is None:
        return None
    before = to_endpoint(row[1:])
    endpoint = _changed(before, bound_to_origin(before, changes), now)
    enabled = before.disabled and not endpoint.disabled
    with overwriting(connection):
        connection.execute(_QUERIES["update"], {**_columns(endpoint), "no": row[0], "now": now, "enabled": enabled})
    if _subscriptions(endpoint) != _subscriptions(before):
        _subscribe(connection, row[0], endpoint)
    return endpoint


def _subscriptions(endpoint: Endpoint) -> tuple[bool, tuple[str, ...], tuple[str, ...]]:
    return endpoint.disabled, endpoint.event_types, endpoint.channels


def _subscribe(connection: sqlite3.Connection, no: int, endpoint: Endpoint) -> None:
    if endpoint.disabled:
        connection.execute(_QUERIES["unsubscribe"], (no,))
        return
    values = {
        "no": no,
        "tenant": endpoint.tenant,
        "types": json.dumps(endpoint.event_types or [""]),
        "channels": json.dumps(endpoint.channels or [""]),
    }
    connection.execute(_QUERIES["unsubscribe_from_others"], values)
    connection.execute(_QUERIES["subscribe"], values)


def delete_endpoint(connection: sqlite3.Connection, tenant: str, identifier: str) -> int | None:
    """Delete an endpoint. Returns its number, under which its deliveries and attempts remain."""
    row = _row(connection, tenant, identifier)
    if row is None:
        return None
    no = int(row[0])
    connection.execute(_QUERIES["unsubscribe"], (no,))
    connection.execute(_QUERIES["delete_hours"], (no,))
    with overwriting(connection):
        connection.execute(_QUERIES["delete_secrets"], (no,))
        connection.execute(_QUERIES["delete"], (no,))
    return no


def delete_leftovers(connection: sqlite3.Connection, no: int, batch: int = 100) -> bool:
    """Remove a batch of a deleted endpoint's deliveries and attempts. Returns False if there are none left."""
    deliveries = connection.execute(_QUERIES["delete_deliveries"], (no, batch)).rowcount
    attempts = connection.execute(_QUERIES["delete_attempts"], (no, batch)).rowcount
    return deliveries + attempts > 0


def any_endpoint(connection: sqlite3.Connection, tenant: str) -> str | None:
    """Return the id of any endpoint of the tenant."""
    page = list_endpoints(connection, tenant, 1, None)
    return page.items[0].id if page.items else None


def get_secret(connection: sqlite3.Connection, tenant: str, identifier: str) -> str | None:
    """The current secret of an endpoint."""
    row = _row(connection, tenant, identifier)
    if row is None:
        return None
    (key,) = connection.execute(_QUERIES["secret"], (row[0],)).fetchone()
    return str(key)


def rotate_secret(
    connection: sqlite3.Connection, tenant: str, identifier: str, key: str, *, expiry: int, now: int
) -> str | None:
    """Make `key` the secret of an endpoint. The previous ones stay valid until `expiry` at most."""
    row = _row(connection, tenant, identifier)
    if row is None:
        return None
    no = row[0]
    (live,) = connection.execute(_QUERIES["live_secrets"], (no, now)).fetchone()
    if live >= LIVE_SECRETS:
        raise too_many_secrets()
    (current,) = connection.execute(_QUERIES["secret"], (no,)).fetchone()
    if current == key:
        raise same_secret()
    connection.execute(_QUERIES["expire_secrets"], {"no": no, "expiry": expiry})
    connection.execute(_QUERIES["insert_secret"], (no, now, key))
    # Also those that this call replaces at once, perhaps because they have leaked.
    with overwriting(connection):
        connection.execute(_QUERIES["drop_expired_secrets"], (no, now))
    return key
