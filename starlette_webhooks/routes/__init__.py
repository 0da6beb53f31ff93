"""The HTTP routes, a module a family."""

from __future__ import annotations

from starlette.routing import BaseRoute, Route

from starlette_webhooks.portal.pages import portal_routes
from starlette_webhooks.routes import catalog, endpoints, events, openapi, portal, stream
from starlette_webhooks.routes.services import Services

__all__ = ["build_routes"]


def build_routes(services: Services) -> list[BaseRoute]:
    """All routes below the mount. A path that names something stands before one that takes an id."""
    return [
        Route("/events", events.list_events, methods=["GET"]),
        Route("/events/stream", stream.stream_events, methods=["GET"]),
        Route("/events/stream/ticket", stream.create_ticket, methods=["POST"]),
        Route("/events/{id}", events.get_event, methods=["GET"]),
        Route("/events/{id}/attempts", events.list_event_attempts, methods=["GET"]),
        Route("/events/{id}/endpoints/{endpoint}/resend", events.resend_event, methods=["POST"]),
        Route("/test", events.send_test_event, methods=["POST"]),
        Route("/event-types", catalog.list_event_types, methods=["GET"]),
        Route("/sync", catalog.sync_event_types, methods=["POST"]),
        Route("/endpoints", endpoints.list_endpoints, methods=["GET"]),
        Route("/endpoints", endpoints.create_endpoint, methods=["POST"]),
        Route("/endpoints/{id}", endpoints.get_endpoint, methods=["GET"]),
        Route("/endpoints/{id}", endpoints.update_endpoint, methods=["PATCH"]),
        Route("/endpoints/{id}", endpoints.delete_endpoint, methods=["DELETE"]),
        Route("/endpoints/{id}/secret", endpoints.get_secret, methods=["GET"]),
        Route("/endpoints/{id}/secret/rotate", endpoints.rotate_secret, methods=["POST"]),
        Route("/endpoints/{id}/attempts", endpoints.list_attempts, methods=["GET"]),
        Route("/endpoints/{id}/stats", endpoints.get_stats, methods=["GET"]),
        Route("/endpoints/{id}/recover", endpoints.recover_endpoint, methods=["POST"]),
        Route("/endpoints/{id}/test", endpoints.test_endpoint, methods=["POST"]),
        Route("/openapi.json", openapi.openapi_view(services), methods=["GET"]),
        Route("/portal", portal.create_portal_access, methods=["GET", "POST"]),
        *portal_routes(portal.make_portal(services)),
    ]
