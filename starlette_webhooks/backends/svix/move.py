"""Copies endpoints from the SQLite backend to Svix, secrets included.

Run it with `SVIX_API_KEY` set: `python -m starlette_webhooks.backends.svix.move webhooks.db`.
"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import anyio

from starlette_webhooks.backends.base import Backend
from starlette_webhooks.encryption import NOT_ENCRYPTED, SecretBox
from starlette_webhooks.endpoints import Endpoint, EndpointChanges
from starlette_webhooks.event_types import EventTypes
from starlette_webhooks.exceptions import WebhooksError
from starlette_webhooks.stores.sqlite import endpoints

__all__ = ["copy_endpoints"]

_PAGE = 250


def read_endpoints(database: str, box: SecretBox = NOT_ENCRYPTED) -> list[tuple[Endpoint, str]]:
    """All endpoints of all tenants of the SQLite backend, oldest first, each with its secret.

    Raises:
        CannotDecrypt: They are encrypted, and the box has no key for them.
        sqlite3.Error: The file cannot be read, or is not a database of the SQLite backend.
    """
    with closing(sqlite3.connect(f"{Path(database).absolute().as_uri()}?mode=ro", uri=True)) as connection:
        tenants = [tenant for (tenant,) in connection.execute("SELECT DISTINCT tenant FROM endpoint ORDER BY tenant")]
        found = [(tenant, endpoint) for tenant in tenants for endpoint in _endpoints(connection, tenant)]
        secrets = [endpoints.get_secret(connection, tenant, endpoint.id) for tenant, endpoint in found]
    return [
        (
            replace(endpoint, headers=box.open_headers(endpoint.headers, tenant)),
            box.open_secret(secret, tenant),
        )
        for (tenant, endpoint), secret in zip(found, secrets, strict=True)
        if secret is not None
    ]


def _endpoints(connection: sqlite3.Connection, tenant: str) -> Iterator[Endpoint]:
    newest_first: list[Endpoint] = []
    cursor: str | None = None
    while True:
        page = endpoints.list_endpoints(connection, tenant, _PAGE, cursor)
        newest_first += page.items
        cursor = page.next_cursor
        if page.done:
            return iter(newest_first[::-1])


async def copy_endpoints(found: Sequence[tuple[Endpoint, str]], target: Backend) -> int:
    """Create endpoints with these secrets where the target has none alike. Idempotent; returns how many were created.

    Event types that the endpoints filter by must be registered first: see `Backend.sync`.
    """
    created = 0
    there: dict[str, set[tuple[object, ...]]] = {}
    for endpoint, secret in found:
        if endpoint.tenant not in there:
            there[endpoint.tenant] = await _known(target, endpoint.tenant)
        if _likeness(endpoint) in there[endpoint.tenant]:
            continue
        changes = EndpointChanges(
            url=endpoint.url,
            description=endpoint.description,
            event_types=endpoint.event_types,
            channels=endpoint.channels,
            disabled=endpoint.disabled,
            rate_limit=endpoint.rate_limit,
            metadata=endpoint.metadata,
            headers=endpoint.headers,
            secret=secret,
        )
        await target.create_endpoint(endpoint.tenant, changes)
        created += 1
    return created


async def _known(target: Backend, tenant: str) -> set[tuple[object, ...]]:
    known: set[tuple[object, ...]] = set()
    cursor: str | None = None
    while True:
        page = await target.list_endpoints(tenant, limit=_PAGE, cursor=cursor)
        known |= {_likeness(endpoint) for endpoint in page.items}
        cursor = page.next_cursor
        if page.done:
            return known


def _likeness(endpoint: Endpoint) -> tuple[object, ...]:
    return (endpoint.url, frozenset(endpoint.event_types), frozenset(endpoint.channels))


async def _main(database: str) -> None:
    from starlette_webhooks.backends.svix.backend import SvixBackend
    from starlette_webhooks.settings import WebhooksSettings

    settings = WebhooksSettings(database=":memory:", endpoints_per_tenant=100_000)
    found = read_endpoints(database, SecretBox(settings.encryption_keys))
    types = EventTypes({name: None for endpoint, _ in found for name in endpoint.event_types})
    backend = SvixBackend(settings)
    async with backend.lifespan(EventTypes()):
        # Filters need their event types at Svix. The host's own `sync` gives them words and schemas.
        await backend.register_missing(types)
        created = await copy_endpoints(found, backend)
    print(f"{created} endpoints created at Svix, {len(found) - created} were there already.")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m starlette_webhooks.backends.svix.move webhooks.db")
    try:
        anyio.run(_main, sys.argv[1])
    except sqlite3.Error as error:
        sys.exit(f"The file {sys.argv[1]!r} cannot be read as a database of the SQLite backend: {error}.")
    except WebhooksError as error:
        sys.exit(str(error))
