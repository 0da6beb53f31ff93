"""Lists tenants, for all stores: the statement, and the page from its rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from starlette_webhooks.named_sql import substitute
from starlette_webhooks.operations import COUNTED, TenantQuery, TenantStatus
from starlette_webhooks.pagination import Page
from starlette_webhooks.stores.moments import from_ms

__all__ = ["tenant_page", "tenant_statement"]


def tenant_statement(queries: Mapping[str, str], query: TenantQuery) -> tuple[str, dict[str, Any]]:
    """Return the statement that reads a page, from the parts in `operations.sql`, and its parameters."""
    page = substitute(
        queries["failing_tenants" if query.failing else "tenants"],
        beyond=queries["from" if query.cursor is None else "after"],
    )
    values = {
        "start": query.starts_with if query.cursor is None else query.cursor,
        "counted": COUNTED,
        "limit": query.limit + 1,
    }
    return substitute(queries["tenant_figures"], page=page), values


def tenant_page(rows: Sequence[Sequence[Any]], query: TenantQuery) -> Page[TenantStatus]:
    """Return a page from the rows that `tenant_figures` selects: one more than the limit of the query, at most."""
    items = [_to_tenant(row) for row in rows[: query.limit] if row[0].startswith(query.starts_with)]
    done = len(rows) <= query.limit or len(items) < query.limit
    return Page(items, None if done else items[-1].tenant, done)


def _to_tenant(row: Sequence[Any]) -> TenantStatus:
    tenant, endpoints, failing, disabled, waiting, last_event_at = row
    return TenantStatus(
        tenant=tenant,
        endpoints=endpoints,
        endpoints_failing=failing,
        endpoints_disabled=disabled,
        waiting=waiting,
        last_event_at=None if last_event_at is None else from_ms(last_event_at),
    )
