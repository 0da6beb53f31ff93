"""Litestar: a plugin that mounts and runs `Webhooks`, and passes its emitter to route handlers.

@post("/invoices/{id:str}/pay")
async def pay(id: FromPath[str], webhooks: NamedDependency[Emitter]) -> None:
    webhooks.emit("invoice.paid", {"invoiceId": id})

app = Litestar([pay], plugins=[WebhooksPlugin(webhooks)])
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack
from copy import copy
from typing import TYPE_CHECKING, Any, cast

from litestar import Request, asgi
from litestar.config.app import AppConfig
from litestar.connection import ASGIConnection
from litestar.di import Provide
from litestar.exceptions import HTTPException, NotFoundException
from litestar.handlers import ASGIRouteHandler, BaseRouteHandler
from litestar.middleware import DefineMiddleware
from litestar.plugins import InitPlugin
from litestar.types import Guard, Receive, Scope, Send
from litestar.utils.path import join_paths

from starlette_webhooks.emitter import STATE_KEY, Emitter
from starlette_webhooks.exceptions import NotRunning
from starlette_webhooks.middleware import WebhooksMiddleware
from starlette_webhooks.openapi import event_webhooks
from starlette_webhooks.receiving import ReceivedWebhook, WebhookReceiver, WebhookRefused

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from starlette_webhooks.applications import Webhooks

__all__ = ["WebhooksPlugin", "provide_webhook", "webhook_guard"]


class WebhooksPlugin(InitPlugin):
    """Mounts `Webhooks`, stores an `Emitter` as `request.state.webhooks`, and runs it around the app's lifespan.

    Handlers can also use the emitter as a dependency: `webhooks: NamedDependency[Emitter]`. The event types appear
    under `webhooks` in Litestar's OpenAPI document.

    Args:
        path: The mount of the routes. Litestar matches mounts by prefix, so no other path may start with it.
        portal: A second path of the portal, such as `/webhooks`. None by default.
        mounts: Further apps by their paths: `{"/operate": webhooks.console(authorize=...)}`, or
            `webhooks.health_app()`.
    """

    def __init__(
        self,
        webhooks: Webhooks,
        path: str = "/api/v1/webhooks",
        *,
        portal: str | None = None,
        mounts: Mapping[str, ASGIApp] | None = None,
    ) -> None:
        self.webhooks = webhooks
        self.path = path
        self.portal = portal
        self.mounts = dict(mounts or {})

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        """Add the plugin to an app."""
        webhooks = self.webhooks
        base = app_config.path or "/"
        app_config.route_handlers.append(_mount(webhooks, base, self.path, "webhooks"))
        webhooks.portal.public_path = join_paths([base, self.path])
        if self.portal is not None:
            app_config.route_handlers.append(_mount(webhooks.portal, base, self.portal, "webhooks_portal"))
        for number, (path, app) in enumerate(self.mounts.items()):
            app_config.route_handlers.append(_mount(app, base, path, f"webhooks_mount_{number}"))
        # First, because middleware and lifespan managers of the host may emit.
        app_config.middleware.insert(0, DefineMiddleware(cast(Any, WebhooksMiddleware), webhooks=webhooks))
        app_config.lifespan.insert(0, cast(Any, webhooks.lifespan))
        app_config.on_startup.append(webhooks.check_outbox)
        app_config.dependencies.setdefault("webhooks", Provide(_emitter, sync_to_thread=False))
        _document_events(app_config, webhooks)
        return app_config


def _emitter(scope: Scope) -> Emitter:
    emitter = cast(Any, scope).get("state", {}).get(STATE_KEY)
    if not isinstance(emitter, Emitter):
        raise NotRunning("`WebhooksPlugin` must be installed to emit events.")
    return emitter


def _mount(app: Any, base: str, path: str, name: str) -> ASGIRouteHandler:
    mount_path = join_paths([base, path])

    @asgi(path, is_mount=True, copy_scope=True, name=name)
    async def mount(scope: Scope, receive: Receive, send: Send) -> None:
        # Litestar removes the prefix from the path and adds a slash at its end, and does not change `root_path`.
        remaining = scope["path"].rstrip("/")
        if remaining and not remaining.startswith("/"):
            raise NotFoundException
        child = cast(Any, scope)
        child["app_root_path"] = child.get("root_path", "")
        child["root_path"] = child["app_root_path"] + mount_path
        child["path"] = child["root_path"] + remaining
        await app(child, cast(Any, receive), cast(Any, send))

    return mount


def _document_events(app_config: AppConfig, webhooks: Webhooks) -> None:
    if app_config.openapi_config is None:
        return
    # Litestar's default config is shared by all apps.
    config = copy(app_config.openapi_config)
    documented = cast(Any, event_webhooks(webhooks.event_types))
    config.webhooks = {**documented, **(config.webhooks or {})}
    app_config.openapi_config = config


def webhook_guard(receiver: WebhookReceiver) -> Guard:
    """Return a guard that refuses requests that are not genuine webhooks: `guards=[webhook_guard(receiver)]`."""

    async def guard(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        request = cast("Request[Any, Any, Any]", connection)
        try:
            receiver.verify(request.scope["headers"], await request.body())
        except WebhookRefused as exc:
            raise _refusal(exc) from exc

    return guard


def provide_webhook(receiver: WebhookReceiver) -> Provide:
    """Return a dependency that handles each webhook once: `dependencies={"webhook": provide_webhook(receiver)}`.

    The parameter of the handler is `webhook: NamedDependency[ReceivedWebhook]`. If the handler raises, the next attempt
    of the sender is handled.
    """

    async def webhook(request: Request[Any, Any, Any]) -> AsyncGenerator[ReceivedWebhook, None]:
        async with AsyncExitStack() as stack:
            try:
                handling = receiver.handle(request.scope["headers"], await request.body())
                received = await stack.enter_async_context(handling)
            except WebhookRefused as exc:
                raise _refusal(exc) from exc
            yield received

    return Provide(webhook)


def _refusal(error: WebhookRefused) -> HTTPException:
    return HTTPException(str(error), status_code=error.status_code, headers=error.headers)
