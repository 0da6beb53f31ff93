"""Connects the product to `starlette_webhooks`: authentication, authorization, and the `Webhooks` object."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Protocol

from starlette.requests import HTTPConnection

from example_app.billing import read_stripe
from example_app.catalog import EVENT_TYPES
from example_app.documents import outbox
from example_app.workspace import SCOPES, NewKey, Refused, User, Workspace
from starlette_webhooks import APIKeys, Emitter, Principal, Webhooks
from starlette_webhooks.authentication import check_same_origin
from starlette_webhooks.exceptions import Forbidden

if TYPE_CHECKING:
    from starlette.types import Scope

__all__ = ["authorize", "operator", "refuse_other_sites", "signed_in", "take_stripe", "webhooks", "workspace"]

_PRINCIPAL = "example_app.principal"
_STRIPE_SECRET = os.environ.get("STRIPE_WEBHOOK_SECRET", "")

# The passwords are `ada-demo`, `grace-demo` and `olga-demo`.
DEMO_USERS = [
    User(
        "user_ada",
        "Ada",
        "ada@example.com",
        "9854056ea74d1d88d4fa19d35669974b:8c76ad2f4fbce270a4283364ce4388dd77da76eded76ae93cfcf01f0eeda1fd5"
        "5a2a1ba82be25ddb539c923cb848c1e17a2199f65f6ed9945fcdd58b6c6ad5a6",
    ),
    User(
        "user_grace",
        "Grace",
        "grace@example.com",
        "e9f9778032f380a77b52b9eda33c95f7:355d4e45e81ee75f042be0c3d0944f775265a5a15b8ec641ef678ebd236aa985"
        "81cc858ebbf2d7f61403d66ce20621825f3e7078bf26ab085e87b1a0d526e234",
    ),
    User(
        "user_olga",
        "Olga",
        "olga@example.com",
        "eb0e011805fa2577e4ae464fdf58cc5f:04eee667a916383b536051036b4454552668c8cac9085cbd826656a9b70aa0a6"
        "b646474e745500bd404caa020cbeeaee9748035d722143113e251aa131536855",
    ),
]

workspace = Workspace(DEMO_USERS)
if demo_key := os.environ.get("EXAMPLE_API_KEY"):
    workspace.create_key("user_ada", NewKey(name="demo"), demo_key)

# For this demo only: her password is in the source. Let your staff sign in as they do elsewhere.
DEMO_OPERATOR = "user_olga"


def by_key(secret: str) -> Principal | None:
    """Return the principal of an API key."""
    key = workspace.find_key(secret)
    return Principal(key.owner, key.scopes) if key else None


def by_session(connection: HTTPConnection) -> Principal | None:
    """Return the principal of the signed-in user, who has all scopes."""
    user = signed_in(connection.scope)
    return Principal(user.id, [*SCOPES, "keys:write"]) if user else None


def signed_in(scope: Scope) -> User | None:
    """Return the user of the session, or None."""
    return workspace.user((scope.get("session") or {}).get("user"))


def operator(connection: HTTPConnection) -> str | None:
    """Return the operator who may open the console. Customers may not."""
    user = signed_in(connection.scope)
    return user.email if user and user.id == DEMO_OPERATOR else None


authenticate = APIKeys(by_key, fallback=by_session)


class Connection(Protocol):
    """A request of any of the three frameworks."""

    @property
    def scope(self) -> Any: ...


async def authorize(request: Connection, needed: str) -> str:
    """Return the id of the user who calls one of our routes, after checking the scope.

    Raises:
        Refused: The caller is unknown or lacks the scope, or another site caused the call.
    """
    principal = await authenticate(HTTPConnection(request.scope))
    if principal is None:
        raise Refused(401, "unauthorized", "Sign in, or send `Authorization: Bearer <key>`.")
    refuse_other_sites(request)
    if needed not in principal.scopes:
        raise Refused(403, "missing_scope", f"Requires the scope `{needed}`.")
    request.scope[_PRINCIPAL] = principal
    return principal.tenant


def refuse_other_sites(request: Connection) -> None:
    """Refuse a change that another site makes with the user's cookies (CSRF).

    Raises:
        Refused: The call does not come from one of our pages, and has no API key.
    """
    try:
        check_same_origin(HTTPConnection(request.scope), webhooks.settings.public_url)
    except Forbidden as exc:
        raise Refused(403, exc.code, exc.detail) from exc


def tenant(connection: HTTPConnection) -> str | None:
    """Return the tenant of the events of our routes: the user whom `authorize` found."""
    principal: Principal | None = connection.scope.get(_PRINCIPAL)
    return principal.tenant if principal else None


async def take_stripe(emitter: Emitter, body: bytes, signature: str | None) -> None:
    """Emit our event for a webhook from Stripe, if there is one.

    Raises:
        Refused: See `read_stripe`.
        BackendError: The event could not be stored. The response is then an error, and Stripe sends the webhook again.
    """
    if event := read_stripe(workspace, _STRIPE_SECRET, body, signature):
        await emitter.send(event.event_type, event.data, tenant=event.tenant, event_id=event.event_id)


webhooks = Webhooks(event_types=EVENT_TYPES, authenticate=authenticate, tenant=tenant, outbox=outbox)
