"""Starlette and FastAPI: `install`, signed-in users, types for editors, and OpenAPI documents."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Receive, Scope, Send

from starlette_webhooks import NotRunning, WebhooksMiddleware, get_emitter
from starlette_webhooks.settings import WebhooksSettings
from starlette_webhooks.testing import EmittedEvents
from tests.hosts import MOUNT, HeaderUsers, bearer, make_webhooks, nothing

ACME = {"X-User": "acme"}
APPS: list[Callable[[], Starlette]] = [Starlette, FastAPI]


async def emit(request: Request) -> JSONResponse:
    return JSONResponse({"id": request.state.webhooks.emit("invoice.paid", {}).event.id})


def sign_in(app: Starlette) -> None:
    app.add_middleware(AuthenticationMiddleware, backend=HeaderUsers())


@pytest.mark.parametrize("make", APPS)
@pytest.mark.parametrize("sign_in_first", [True, False])
def test_installed_in_one_call_it_knows_the_user_in_any_order(
    settings: WebhooksSettings, emitted_webhooks: EmittedEvents, make: Callable[[], Starlette], sign_in_first: bool
) -> None:
    app = make()
    app.add_route("/emit", emit, methods=["POST"])
    webhooks = make_webhooks(settings, authenticate=None)
    if sign_in_first:
        sign_in(app)
    webhooks.install(app)
    if not sign_in_first:
        sign_in(app)
    with TestClient(app) as client:
        identifier = client.post("/emit", headers=ACME).json()["id"]
        emitted_webhooks.assert_emitted("invoice.paid", tenant="acme")
        # The routes below the mount see the same user.
        (event,) = client.get("/api/v1/webhooks/events", headers=ACME).json()["events"]
        assert event["id"] == identifier
        assert client.get("/api/v1/webhooks/events", headers={"X-User": "globex"}).json()["events"] == []
        assert client.get("/api/v1/webhooks/events").status_code == 401


@pytest.mark.parametrize("make", APPS)
def test_it_can_be_installed_at_another_path(settings: WebhooksSettings, make: Callable[[], Starlette]) -> None:
    app = make()
    webhooks = make_webhooks(settings)
    webhooks.install(app, path="/hooks")
    app.mount("/customers", webhooks.portal)
    with TestClient(app) as client:
        assert client.get("/hooks/events", headers=bearer("acme")).status_code == 200
        assert "/hooks" in client.get("/customers/", headers=ACME).text


@pytest.mark.parametrize("make", APPS)
def test_once_the_app_has_started_installing_is_refused_and_changes_nothing(
    settings: WebhooksSettings, make: Callable[[], Starlette]
) -> None:
    app = make()
    app.add_route("/nothing", nothing)
    with TestClient(app) as client:
        client.get("/nothing")
        with pytest.raises(RuntimeError, match="started"):
            make_webhooks(settings).install(app)
        assert client.get("/api/v1/webhooks/events").status_code == 404


class EmitsItself:
    """Middleware of a host, outside or inside ours."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            get_emitter(Request(scope)).emit("invoice.paid", {"from": "middleware"}, tenant="acme")
        await self.app(scope, receive, send)


@pytest.mark.parametrize("inside", [True, False])
def test_middleware_inside_ours_can_emit_and_outside_gets_the_remedy(
    settings: WebhooksSettings, emitted_webhooks: EmittedEvents, inside: bool
) -> None:
    webhooks = make_webhooks(settings)
    both: list[Any] = [Middleware(WebhooksMiddleware, webhooks=webhooks), Middleware(EmitsItself)]
    app = Starlette(routes=[Route("/nothing", nothing)], middleware=both if inside else both[::-1])
    with TestClient(app) as client:
        if inside:
            assert client.get("/nothing").status_code == 200
            emitted_webhooks.assert_emitted("invoice.paid", data={"from": "middleware"})
        else:
            with pytest.raises(NotRunning, match="`WebhooksMiddleware`"):
                client.get("/nothing")


def test_without_the_lifespan_the_routes_say_so(settings: WebhooksSettings) -> None:
    app = Starlette(routes=[Mount(MOUNT, app=make_webhooks(settings))])
    with TestClient(app) as client, pytest.raises(NotRunning, match="WebhooksMiddleware"):
        client.get(f"{MOUNT}/events", headers=bearer("acme"))


def test_reversing_urls_of_the_host_still_works_below_the_middleware(settings: WebhooksSettings) -> None:
    async def url(request: Request) -> JSONResponse:
        return JSONResponse(str(request.url_for("page")))

    app = Starlette(routes=[Route("/url", url), Route("/page", nothing, name="page")])
    make_webhooks(settings).install(app)
    with TestClient(app) as client:
        assert client.get("/url").json() == "http://testserver/page"
