"""Checks names of event types from customers: those in the catalog, and retired ones that are still in use."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from starlette_webhooks.backends.base import Backend
from starlette_webhooks.event_types import EventTypes, is_event_type_name
from starlette_webhooks.events import EventQuery
from starlette_webhooks.exceptions import RequestError

__all__ = ["check_in_catalog", "check_in_log", "describe_unknown"]


def check_in_catalog(
    names: Iterable[str], catalog: EventTypes, *, retired: Collection[str] = (), error: type[RequestError]
) -> None:
    """Raise `error` for a name that is neither in the catalog nor retired but still in use."""
    for name in names:
        if name not in catalog and name not in retired:
            raise error(describe_unknown(catalog, name), code="unknown_event_type")


async def check_in_log(
    names: Iterable[str], catalog: EventTypes, *, backend: Backend, tenant: str, error: type[RequestError]
) -> None:
    """Raise `error` for a name that is neither in the catalog nor the type of an event in the tenant's log."""
    for name in names:
        if name not in catalog and not (is_event_type_name(name) and await _is_in_log(name, backend, tenant)):
            raise error(describe_unknown(catalog, name), code="unknown_event_type")


async def _is_in_log(name: str, backend: Backend, tenant: str) -> bool:
    page = await backend.list_events(tenant, EventQuery(event_types=(name,), limit=1))
    return bool(page.items)


def describe_unknown(catalog: EventTypes, name: str) -> str:
    """Return the message for a name that is not in the catalog."""
    near = catalog.nearest(name)
    hint = f"Did you mean `{near}`?" if near else "`GET /event-types` lists them."
    return f"There is no event type `{name[:200]}`. {hint}"
