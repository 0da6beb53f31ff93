"""A host that receives webhooks, in each framework. Its code counts what it handles, and may fail."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Depends, FastAPI
from litestar import Litestar, Request as LitestarRequest, post
from litestar.di import NamedDependency
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from starlette_webhooks.litestar import provide_webhook, webhook_guard
from starlette_webhooks.receiving import ReceivedWebhook, WebhookReceiver

__all__ = ["FRAMEWORKS", "Handled", "make_app"]


@dataclass
class Handled:
    """What the code of the host has done."""

    webhooks: list[ReceivedWebhook] = field(default_factory=list)
    fails: bool = False

    def handle(self, webhook: ReceivedWebhook) -> None:
        if self.fails:
            raise LookupError("The code of the host fails.")
        self.webhooks.append(webhook)


def starlette_app(receiver: WebhookReceiver, handled: Handled) -> Any:
    async def hook(request: Request) -> Response:
        async with receiver.receive(request) as webhook:
            handled.handle(webhook)
        return Response(status_code=204)

    return Starlette(routes=[Route("/hook", hook, methods=["POST"])])


def fastapi_app(receiver: WebhookReceiver, handled: Handled) -> Any:
    app = FastAPI()

    async def hook(webhook: Any) -> None:
        handled.handle(webhook)

    # As the annotation of a route at the top of a module.
    hook.__annotations__["webhook"] = Annotated[ReceivedWebhook, Depends(receiver.dependency)]
    app.post("/hook", status_code=204)(hook)
    return app


def litestar_app(receiver: WebhookReceiver, handled: Handled) -> Any:
    @post("/hook", dependencies={"webhook": provide_webhook(receiver)}, status_code=204)
    async def hook(webhook: NamedDependency[ReceivedWebhook]) -> None:
        handled.handle(webhook)

    return Litestar([hook], openapi_config=None)


def litestar_guarded_app(receiver: WebhookReceiver, handled: Handled) -> Any:
    @post("/hook", guards=[webhook_guard(receiver)], status_code=204)
    async def hook(request: LitestarRequest[Any, Any, Any]) -> None:
        # The guard leaves the body to the handler.
        handled.handle(await request.json())

    return Litestar([hook], openapi_config=None)


FRAMEWORKS = {
    "starlette": starlette_app,
    "fastapi": fastapi_app,
    "litestar": litestar_app,
    "litestar guard": litestar_guarded_app,
}


def make_app(name: str, receiver: WebhookReceiver, handled: Handled) -> Any:
    """The app of a framework."""
    return FRAMEWORKS[name](receiver, handled)
