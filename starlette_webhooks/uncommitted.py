"""A warning about responses that start before the transaction of their event is committed."""

from __future__ import annotations

import logging
from typing import Any

from starlette.types import Scope

from starlette_webhooks.log_fields import log_fields

__all__ = ["UncommittedResponses"]

logger = logging.getLogger("starlette_webhooks")

_ROUTES = 1000


class UncommittedResponses:
    """Logs each route once. The response of such a route may announce something that a failed commit undoes."""

    def __init__(self) -> None:
        self._routes: set[str] = set()

    def found(self, scope: Scope) -> None:
        """Note that the response of a request has started while a transaction with its event is still open."""
        route = _route(scope)
        if route in self._routes or len(self._routes) >= _ROUTES:
            return
        self._routes.add(route)
        logger.warning(
            "The response of %s started before the transaction of its event was committed. If the commit fails, the "
            "customer was told of something that does not exist. Commit before you return the response. In FastAPI, a "
            'dependency that commits after its `yield` needs `Depends(..., scope="function")`.',
            route,
            extra=log_fields("response.uncommitted", route=route),
        )


def _route(scope: Scope) -> str:
    # Starlette and FastAPI have the endpoint in the scope, Litestar the handler.
    handler: Any = scope.get("endpoint") or getattr(scope.get("route_handler"), "fn", None)
    name = getattr(handler, "__qualname__", None)
    return f"`{name}`" if name else f"{scope['method']} {scope['path']}"
