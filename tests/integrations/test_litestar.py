"""Specific to Litestar: the mount, the portal, its users, and where the emitter is missing."""

from __future__ import annotations

from typing import Any

from litestar import Litestar, Request, Response, get, post
from litestar.config.app import AppConfig
from litestar.connection import ASGIConnection
from litestar.di import NamedDependency
from litestar.middleware import AbstractAuthenticationMiddleware, AuthenticationResult
from litestar.params import FromPath
from litestar.testing import TestClient

from starlette_webhooks import Emitter, Principal, WebhooksError, get_emitter
from starlette_webhooks.litestar import WebhooksPlugin
from starlette_webhooks.settings import WebhooksSettings
from starlette_webhooks.testing import EmittedEvents
from tests.hosts import MOUNT, READ, bearer, make_webhooks
from tests.integrations.litestar_host import litestar_emit, litestar_neighbour


class User:
    """A user of a Litestar host, independent of Starlette."""

    def __init__(self, name: str) -> None:
        self.name = name


class Users(AbstractAuthenticationMiddleware):
    async def authenticate_request(self, connection: ASGIConnection[Any, Any, Any, Any]) -> AuthenticationResult:
        name = connection.headers.get("x-user")
        return AuthenticationResult(user=User(name) if name else None, auth="a token")


def shown(request: Request[Any, Any, Any], error: Exception) -> Response[str]:
    return Response(str(error), status_code=500)


def of_user(connection: Any) -> Principal | None:
    user = connection.scope.get("user")
    return Principal(user.name, [READ]) if user else None


def test_the_hosts_own_users_are_read_by_its_own_functions(
    settings: WebhooksSettings, emitted_webhooks: EmittedEvents
) -> None:
    webhooks = make_webhooks(
        settings, authenticate=of_user, tenant=lambda connection: getattr(connection.scope.get("user"), "name", None)
    )
    app = Litestar([litestar_emit], plugins=[WebhooksPlugin(webhooks)], middleware=[Users])
    with TestClient(app) as client:
        assert client.post("/emit", json={}, headers={"X-User": "acme"}).status_code == 201
        emitted_webhooks.assert_emitted("invoice.paid", tenant="acme")
        assert len(client.get(f"{MOUNT}/events", headers={"X-User": "acme"}).json()["events"]) == 1


def test_users_of_other_types_have_no_tenant_until_the_host_resolves_them(settings: WebhooksSettings) -> None:
    plugin = WebhooksPlugin(make_webhooks(settings, authenticate=None))
    app = Litestar([litestar_emit], plugins=[plugin], middleware=[Users], exception_handlers={WebhooksError: shown})
    with TestClient(app) as client:
        assert client.get(f"{MOUNT}/events", headers={"X-User": "acme"}).status_code == 401
        assert "`Webhooks(tenant=...)` returned None" in client.post("/emit", json={}, headers={"X-User": "acme"}).text


def test_the_portal_is_mounted_at_the_given_path(settings: WebhooksSettings) -> None:
    webhooks = make_webhooks(settings)
    app = Litestar([], path="/outer", plugins=[WebhooksPlugin(webhooks, "/hooks", portal="/customers")])
    with TestClient(app) as client:
        for path in ("/outer/customers", "/outer/customers/"):
            page = client.get(path, headers={"X-User": "acme"})
            assert page.status_code == 200
            assert "/outer/hooks" in page.text
        assert client.get("/outer/customers/api/events", headers=bearer("acme")).json()["events"] == []
        assert client.get("/outer/customers", headers={}).status_code == 401


def test_routes_of_the_host_beside_the_mount_are_reached(settings: WebhooksSettings) -> None:
    app = Litestar([litestar_neighbour], plugins=[WebhooksPlugin(make_webhooks(settings))])
    with TestClient(app) as client:
        assert client.get("/api/v1/webhooks-admin").text == "a neighbour"
        assert client.get("/api/v1/webhooks-other").status_code == 404


def test_a_slash_at_the_end_is_no_redirect_out_of_the_mount(settings: WebhooksSettings) -> None:
    app = Litestar([], plugins=[WebhooksPlugin(make_webhooks(settings))])
    with TestClient(app) as client:
        assert client.get(f"{MOUNT}/events/", headers=bearer("acme"), follow_redirects=False).status_code == 200


def test_a_dependency_that_the_host_calls_webhooks_is_kept(settings: WebhooksSettings) -> None:
    async def own() -> str:
        return "the host's own"

    @get("/own")
    async def handler(webhooks: NamedDependency[str], request: Request[Any, Any, Any]) -> str:
        assert isinstance(get_emitter(request), Emitter)
        return webhooks

    plugin = WebhooksPlugin(make_webhooks(settings))
    with TestClient(Litestar([handler], dependencies={"webhooks": own}, plugins=[plugin])) as client:
        assert client.get("/own").text == "the host's own"


def test_without_the_plugin_the_emitter_says_what_to_install() -> None:
    @post("/pay/{id:str}")
    async def pay(id: FromPath[str], request: Request[Any, Any, Any]) -> None:
        get_emitter(request).emit("invoice.paid", {"id": id})

    with TestClient(Litestar([pay], exception_handlers={WebhooksError: shown})) as client:
        assert "(in Litestar `WebhooksPlugin`) must be installed" in client.post("/pay/1").text


def test_a_dependency_without_the_middleware_says_what_to_install(settings: WebhooksSettings) -> None:
    class Removing(WebhooksPlugin):
        """The plugin of a host that removes all middleware of others."""

        def on_app_init(self, app_config: AppConfig) -> AppConfig:
            config = super().on_app_init(app_config)
            config.middleware.clear()
            return config

    @get("/emitter")
    async def emitter(webhooks: NamedDependency[Emitter]) -> None:
        raise AssertionError

    plugin = Removing(make_webhooks(settings))
    with TestClient(Litestar([emitter], plugins=[plugin], exception_handlers={WebhooksError: shown})) as client:
        assert "`WebhooksPlugin` must be installed" in client.get("/emitter").text
