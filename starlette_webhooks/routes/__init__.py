"""The HTTP routes, one module per family, and the table of all routes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import Request
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from starlette_webhooks.portal.pages import Portal, portal_routes
from starlette_webhooks.routes import (
    asyncapi,
    browser,
    catalog,
    endpoints,
    event_states,
    events,
    keys,
    openapi,
    portal,
    stream,
    undelivered,
)
from starlette_webhooks.routes.operations import Operation

__all__ = ["OPERATIONS", "build_routes"]

OPERATIONS: tuple[Operation, ...] = (
    events.list_events,
    stream.stream_events,
    stream.create_ticket,
    stream.get_stream_position,
    event_states.search_events,
    events.get_event,
    event_states.list_event_deliveries,
    events.list_event_attempts,
    events.list_all_attempts,
    events.resend_event,
    undelivered.list_undelivered,
    undelivered.retry_undelivered,
    events.send_test_event,
    catalog.list_event_types,
    catalog.sync,
    endpoints.list_endpoints,
    endpoints.create_endpoint,
    endpoints.get_endpoint,
    endpoints.update_endpoint,
    endpoints.delete_endpoint,
    endpoints.get_secret,
    endpoints.rotate_secret,
    endpoints.list_attempts,
    endpoints.get_stats,
    endpoints.recover_endpoint,
    endpoints.test_endpoint,
    openapi.get_openapi,
    asyncapi.get_asyncapi,
    keys.get_keys,
    browser.get_client_module,
    browser.get_client_types,
    portal.get_portal,
    portal.create_portal,
    portal.show_portal,
)
"""All routes. Fixed paths come before paths with an id."""


def build_routes(page: Portal) -> list[BaseRoute]:
    """Build the routes of the table, with this portal."""
    paths: dict[str, dict[str, Operation]] = {}
    for operation in OPERATIONS:
        if operation.handler is not None:
            paths.setdefault(operation.path, {})[operation.method] = operation
    # One route per path, so that the response to a wrong method lists all allowed ones.
    routes: list[BaseRoute] = [Route(path, _serve(methods), methods=list(methods)) for path, methods in paths.items()]
    return [*routes, *portal_routes(page, portal.show_portal.path)]


def _serve(operations: Mapping[str, Operation]) -> Callable[[Request], Awaitable[ASGIApp]]:
    async def serve(request: Request) -> ASGIApp:
        method = "GET" if request.method == "HEAD" else request.method
        return await operations[method].serve(request)

    return serve
