"""`GET /healthz` and `GET /readyz`, for load balancers and Kubernetes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

from starlette_webhooks.health import Health, Reason
from starlette_webhooks.readiness import has_thresholds, reasons_against, stands_still, with_fresh_figures

if TYPE_CHECKING:
    from starlette_webhooks.settings import WebhooksSettings

__all__ = ["HealthApp"]


class HealthApp:
    """An ASGI app with both routes. They tell no more than a status and codes, so everybody may call them.

    `GET /healthz` answers 503 if the process must be restarted, `GET /readyz` also if it should get no requests now.

    Args:
        health: Returns the state of the process: `(*, figures: bool)`.
        refresh: Reads the figures that it contains.
    """

    def __init__(
        self, health: Callable[..., Health], refresh: Callable[[], Awaitable[None]], settings: WebhooksSettings
    ) -> None:
        self._health = health
        self._refresh = refresh
        self._settings = settings
        self._router = Router(routes=[Route("/healthz", self._live), Route("/readyz", self._ready)])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        await self._router(scope, receive, send)

    async def _live(self, request: Request) -> Response:
        health = self._health(figures=False)
        if health["status"] == "stopped":
            return _answer(["stopped"])
        return _answer(["dispatcher"] if stands_still(health, self._settings) else [])

    async def _ready(self, request: Request) -> Response:
        if has_thresholds(self._settings):
            health = await with_fresh_figures(partial(self._health, figures=True), self._refresh)
        else:
            health = self._health(figures=False)
        return _answer(reasons_against(health, self._settings))


def _answer(reasons: Sequence[Reason]) -> Response:
    body = {"status": "unavailable" if reasons else "ok", "reasons": list(reasons)}
    return JSONResponse(body, 503 if reasons else 200, headers={"Cache-Control": "no-store"})
