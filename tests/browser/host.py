"""The host of the browser tests, `uvicorn tests.browser.host:app`: cookie sign-in, and the page in several places."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.types import Receive, Scope, Send

from starlette_webhooks import APIKeys, EventType, Principal, Webhooks, WebhooksMiddleware
from starlette_webhooks.console import Operator
from starlette_webhooks.environment import load_settings

READ, WRITE = "webhooks:read", "webhooks:write"
MOUNT = "/api/v1/webhooks"
PAID = {
    "type": "object",
    "required": ["invoiceId", "amountPaid"],
    "properties": {
        "invoiceId": {"type": "string", "description": "The invoice that was paid.", "minLength": 1},
        "amountPaid": {"type": "integer", "minimum": 0, "description": "In cents."},
        "currency": {"type": "string", "enum": ["usd", "eur", "gbp"]},
        "customer": {"$ref": "#/$defs/Customer"},
        "lines": {
            "type": "array",
            "items": {"type": "object", "required": ["sku"], "properties": {"sku": {"type": "string"}}},
        },
    },
    "$defs": {"Customer": {"type": "object", "description": "Who paid.", "properties": {"email": {"type": "string"}}}},
}
EXAMPLE = {"invoiceId": "inv_8Qk2", "amountPaid": 9900, "currency": "usd", "customer": {"email": "ada@o'hara.example"}}
EVENT_TYPES = [
    EventType("invoice.created", category="Billing", description="An invoice was drawn up and waits for payment."),
    EventType(
        "invoice.paid", category="Billing", description="An invoice was paid in full.", schema=PAID, example=EXAMPLE
    ),
    EventType(
        "invoice.failed", category="Billing", description="A payment was declined.", example={"reason": "declined"}
    ),
    EventType("document.created", category="Documents", description="Somebody made a document."),
    EventType("document.shared", category="Documents"),
    EventType("member.joined", category="Workspace", description="<img src=x onerror=alert(1)> & others"),
]


def by_cookie(connection: HTTPConnection) -> Principal | None:
    """Read the user from the cookie `user`, which is `<tenant>:<read or write>`. For tests only."""
    tenant, _, access = connection.cookies.get("user", "").partition(":")
    return Principal(tenant, [READ, WRITE] if access == "write" else [READ]) if tenant else None


def by_key(key: str) -> Principal | None:
    """Look up an API key, which is a tenant's name here."""
    return Principal(key, [READ, WRITE])


webhooks = Webhooks(event_types=EVENT_TYPES, authenticate=APIKeys(by_key, fallback=by_cookie), settings=load_settings())


def by_operator(connection: HTTPConnection) -> Operator | None:
    """Read the operator from the cookie `operator`, which is `<name>:<read or write>`. For tests only."""
    name, _, access = connection.cookies.get("operator", "").partition(":")
    return Operator(name, read_only=access == "read") if name else None


async def emit(request: Request) -> Response:
    """Emit the event of the request."""
    body = await request.json()
    events = [await webhooks.emitter(body["tenant"]).send(body["type"], data) for data in body["events"]]
    return JSONResponse([event.id for event in events])


async def streams(request: Request) -> Response:
    """Figures of the streams."""
    return JSONResponse(webhooks.health()["streams"])


host = Starlette(
    routes=[
        Route("/emit", emit, methods=["POST"]),
        Route("/streams", streams),
        Mount(MOUNT, webhooks),
        Mount("/settings/webhooks", webhooks.portal),
        Mount("/operate", webhooks.console(authorize=by_operator)),
    ]
)


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """The host, also below `/hidden` as behind a proxy that silently strips a prefix."""
    prefix = "/hidden"
    if scope["type"] == "http" and scope["path"].startswith(f"{prefix}/"):
        scope["path"] = scope["path"].removeprefix(prefix)
        scope["raw_path"] = scope["raw_path"].removeprefix(prefix.encode())
    await served(scope, receive, send)


served = WebhooksMiddleware(host, webhooks)
