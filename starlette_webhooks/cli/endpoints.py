"""`starlette-webhooks endpoints`, `disable` and `enable`."""

from __future__ import annotations

from typing import cast

import click

from starlette_webhooks.audit import record
from starlette_webhooks.backends.base import Backend
from starlette_webhooks.cli.auditing import command_actor
from starlette_webhooks.cli.filters import page_options
from starlette_webhooks.cli.output import Output
from starlette_webhooks.cli.target import Target, subcommand
from starlette_webhooks.delivery.origins import shown_origin
from starlette_webhooks.endpoints import Endpoint, EndpointChanges
from starlette_webhooks.exceptions import WebhooksError
from starlette_webhooks.operations import EndpointQuery, EndpointState

__all__ = ["disable", "enable", "endpoints"]

_COLUMNS = {
    "tenant": "tenant",
    "id": "endpoint",
    "url": "URL",
    "state": "state",
    "disabledReason": "reason",
    "failingSince": "failing since",
    "waiting": "waiting",
    "lastError": "last error",
}


@subcommand
@click.option("--tenant", help="Only of this tenant.")
@click.option("--state", type=click.Choice(("ok", "failing", "disabled")), help="Only in this state.")
@page_options
def endpoints(
    target: Target, output: Output, tenant: str | None, state: str | None, limit: int, cursor: str | None
) -> None:
    """List endpoints and how they are doing, newest first."""
    query = EndpointQuery(tenant=tenant, state=cast("EndpointState | None", state), limit=limit, cursor=cursor)
    page = target.operate(lambda backend: backend.find_endpoints(query))
    documents = [one.document() for one in page.items]
    for one in documents:
        one["lastError"] = one["error"] or (str(one["statusCode"]) if one["lastFailureAt"] else "")
    output.page("endpoints", documents, page.next_cursor, _COLUMNS)


def _switch(target: Target, output: Output, endpoint: str, tenant: str | None, disabled: bool) -> None:
    async def change(backend: Backend) -> Endpoint | None:
        if tenant is not None:
            return await backend.update_endpoint(tenant, endpoint, EndpointChanges(disabled=disabled))
        return await (backend.disable_endpoint(endpoint) if disabled else backend.enable_endpoint(endpoint))

    found = target.operate(change)
    if found is None:
        raise WebhooksError(f"There is no endpoint {endpoint}.")
    origin = shown_origin(found.url)
    record("endpoint.changed", found.tenant, command_actor(), endpoint=found.id, origin=origin, fields=["disabled"])
    text = f"The endpoint {found.id} of {found.tenant} is {'disabled' if disabled else 'enabled'}."
    output.result({"tenant": found.tenant, **found.document()}, text)


@subcommand
@click.argument("endpoint", metavar="ENDPOINT")
@click.option("--tenant", help="Its tenant. Needed with Svix.")
def disable(target: Target, output: Output, endpoint: str, tenant: str | None) -> None:
    """Disable an endpoint. Its deliveries are held, and its owner can enable it again."""
    _switch(target, output, endpoint, tenant, True)


@subcommand
@click.argument("endpoint", metavar="ENDPOINT")
@click.option("--tenant", help="Its tenant. Needed with Svix.")
def enable(target: Target, output: Output, endpoint: str, tenant: str | None) -> None:
    """Enable an endpoint, and have its deliveries made."""
    _switch(target, output, endpoint, tenant, False)
