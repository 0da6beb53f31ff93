"""Endpoints in PostgreSQL, with their subscriptions and secrets."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from starlette_webhooks.conflicts import endpoint_limit, same_secret, too_many_secrets
from starlette_webhooks.delivery.origins import bound_to_origin
from starlette_webhooks.endpoints import Endpoint, EndpointChanges, Unset
from starlette_webhooks.exceptions import BackendUnavailable
from starlette_webhooks.identifiers import mint
from starlette_webhooks.operational_events import endpoint_event
from starlette_webhooks.pagination import Page
from starlette_webhooks.signing import generate_secret
from starlette_webhooks.stores.limits import LIVE_SECRETS
from starlette_webhooks.stores.postgresql.database import Database
from starlette_webhooks.stores.postgresql.telling import encode_notices
from starlette_webhooks.stores.rows import page_of, to_endpoint

__all__ = [
    "create_endpoint",
    "delete_endpoint",
    "get_endpoint",
    "get_secret",
    "list_endpoints",
    "number_of",
    "rotate_secret",
    "update_endpoint",
]

_FILE = "endpoints.sql"
_AFTER_ALL_IDS = "ep_~"
_LEFTOVERS = 500


async def list_endpoints(database: Database, tenant: str, limit: int, cursor: str | None) -> Page[Endpoint]:
    """A page, newest first. A page of more than 256 KiB ends early."""
    values = (tenant, cursor or _AFTER_ALL_IDS, limit + 1)
    rows = await database.call(database.queries(_FILE)["list"], values)
    return page_of(rows, limit, to_endpoint, lambda endpoint: endpoint.id)


async def get_endpoint(database: Database, tenant: str, identifier: str) -> Endpoint | None:
    """One endpoint of the tenant."""
    rows = await database.call(database.queries(_FILE)["get"], (tenant, identifier))
    return to_endpoint(rows[0]) if rows else None


async def number_of(database: Database, tenant: str, identifier: str) -> int | None:
    """Return the number that identifies an endpoint in deliveries."""
    rows = await database.call(database.queries(_FILE)["number"], (tenant, identifier))
    return int(rows[0][0]) if rows else None


async def create_endpoint(
    database: Database, tenant: str, changes: EndpointChanges, *, now: int, limit: int, operator: str | None = None
) -> Endpoint:
    """Create an endpoint with a secret, unless the tenant already has `limit` endpoints."""
    given = changes.given()
    identifier = mint("ep_", now)
    document = {
        "id": identifier,
        "tenant": tenant,
        "url": given.get("url", ""),
        "description": given.get("description", ""),
        "event_types": given.get("event_types", ()),
        "channels": given.get("channels", ()),
        "disabled_reason": "manual" if given.get("disabled") else None,
        "rate_limit": given.get("rate_limit"),
        "metadata": dict(given.get("metadata", {})),
        "headers": dict(given.get("headers", {})),
    }
    secret = given.get("secret") or generate_secret()
    values = {
        "document": json.dumps(document),
        "secret": secret,
        "limit": limit,
        "now": now,
        "notices": encode_notices(endpoint_event("created", identifier, tenant=tenant, operator=operator)),
    }
    ((count, _),) = await database.call(database.queries(_FILE)["create"], values)
    if count is not None:
        raise endpoint_limit(count)
    return await _existing(database, tenant, identifier)


async def _existing(database: Database, tenant: str, identifier: str) -> Endpoint:
    endpoint = await get_endpoint(database, tenant, identifier)
    if endpoint is None:  # pragma: no cover  Another call must come in between.
        raise BackendUnavailable("The endpoint was removed at the same time.")
    return endpoint


async def update_endpoint(
    database: Database, tenant: str, identifier: str, changes: EndpointChanges, *, now: int, operator: str | None = None
) -> Endpoint | None:
    """See `EndpointStore.update_endpoint`."""
    update = partial(_update, database, tenant, identifier, now=now, operator=operator)
    if isinstance(changes.url, Unset):
        return await update(changes)
    while (before := await get_endpoint(database, tenant, identifier)) is not None:
        bound = bound_to_origin(before, changes)
        # Only if the URL has not changed since it was compared: another call may have moved the endpoint.
        updated = await update(bound, url=before.url)
        if updated is not None:  # pragma: no branch  Another call must come in between.
            return updated
    return None


async def _update(
    database: Database,
    tenant: str,
    identifier: str,
    changes: EndpointChanges,
    *,
    now: int,
    operator: str | None,
    url: str | None = None,
) -> Endpoint | None:
    given: dict[str, Any] = {name: _plain(value) for name, value in changes.given().items() if name != "secret"}
    text = json.dumps(given)
    event = partial(endpoint_event, endpoint_id=identifier, tenant=tenant, operator=operator)
    updated = event("updated")
    disabled = event("disabled", reason="manual") if changes.disabled is True else []
    values = {
        "tenant": tenant,
        "id": identifier,
        "url": url,
        "changes": text,
        "now": now,
        "notices": encode_notices(updated),
        "notices_if_enabled": encode_notices([*updated, *disabled]),
    }
    found = await database.call(database.queries(_FILE)["update"], values)
    return await get_endpoint(database, tenant, identifier) if found else None


def _plain(value: Any) -> Any:
    return dict(value) if hasattr(value, "items") else value


async def delete_endpoint(database: Database, tenant: str, identifier: str, *, operator: str | None = None) -> bool:
    """Delete an endpoint with everything that depends on it. Returns False if there is none."""
    notices = encode_notices(endpoint_event("deleted", identifier, tenant=tenant, operator=operator))
    values = {"tenant": tenant, "id": identifier, "notices": notices}
    ((number, _),) = await database.call(database.queries(_FILE)["delete"], values)
    if number is None:
        return False
    while await delete_leftovers(database, number):
        pass
    return True


async def delete_leftovers(database: Database, number: int) -> bool:
    """Remove a batch of a deleted endpoint's deliveries and attempts. Returns False if there are none left."""
    ((any_left,),) = await database.call(database.queries(_FILE)["delete_leftovers"], (number, _LEFTOVERS))
    return bool(any_left)


async def any_endpoint(database: Database, tenant: str) -> str | None:
    """Return the id of any endpoint of the tenant."""
    rows = await database.call(database.queries(_FILE)["any"], (tenant,))
    return str(rows[0][0]) if rows else None


async def get_secret(database: Database, tenant: str, identifier: str) -> str | None:
    """The current secret of an endpoint."""
    rows = await database.call(database.queries(_FILE)["secret"], (tenant, identifier))
    return str(rows[0][0]) if rows else None


async def rotate_secret(
    database: Database, tenant: str, identifier: str, key: str, *, expiry: int, now: int
) -> str | None:
    """Make `key` the secret of an endpoint. The previous ones stay valid until `expiry` at most."""
    values = {"tenant": tenant, "id": identifier, "key": key, "most": LIVE_SECRETS, "expiry": expiry, "now": now}
    ((problem,),) = await database.call(database.queries(_FILE)["rotate"], values)
    if problem == "none":
        return None
    if problem == "same":
        raise same_secret()
    if problem is not None:
        raise too_many_secrets()
    return key
