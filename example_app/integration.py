"""Where the product meets `starlette_webhooks`: who calls, what they may do, and the one `Webhooks`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Protocol

from starlette.requests import HTTPConnection

from example_app.billing import read_stripe
from example_app.catalog import EVENT_TYPES
from example_app.workspace import SCOPES, NewKey, Refused, User, Workspace
from starlette_webhooks import APIKeys, Emitter, Principal, Webhooks
from starlette_webhooks.authentication import check_same_origin
from starlette_webhooks.exceptions import Forbidden

if TYPE_CHECKING:
    from starlette.types import Scope

__all__ = ["authorize", "refuse_other_sites", "signed_in", "take_stripe", "webhooks", "workspace"]

_PRINCIPAL = "example_app.principal"
_STRIPE_SECRET = os.environ.get("STRIPE_WEBHOOK_SECRET", "")

# The passwords are `ada-demo` and `grace-demo`.
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
]

workspace = Workspace(DEMO_USERS)
if demo_key := os.environ.get("EXAMPLE_API_KEY"):
    workspace.create_key("user_ada", NewKey(name="demo"), demo_key)


def by_key(secret: str) -> Principal | None:
    """Who calls with this API key."""
    key = workspace.find_key(secret)
    return Principal(key.owner, key.scopes) if key else None


def by_session(connection: HTTPConnection) -> Principal | None:
    """Who is signed in. They may do everything."""
    user = signed_in(connection.scope)
    return Principal(user.id, [*SCOPES, "keys:write"]) if user else None


def signed_in(scope: Scope) -> User | None:
    """The user whose session this is, or None."""
    return workspace.user((scope.get("session") or {}).get("user"))


authenticate = APIKeys(by_key, fallback=by_session)


class Connection(Protocol):
    """A request of any of the three frameworks."""

    @property
    def scope(self) -> Any: ...


async def authorize(request: Connection, needed: str) -> str:
    """The id of the user who calls a route of ours, and may do what is needed.

    Raises:
        Refused: The caller is not known, the scope is missing, or the page of another site made the call.
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
    """Refuse a change that the page of another site makes in the name of the user, whose cookies come along (CSRF).

    Raises:
        Refused: The call does not say that it comes from a page of ours, and has no API key.
    """
    try:
        check_same_origin(HTTPConnection(request.scope), webhooks.settings.public_url)
    except Forbidden as exc:
        raise Refused(403, exc.code, exc.detail) from exc


def tenant(connection: HTTPConnection) -> str | None:
    """Whose events a route of ours emits: those of the user whom `authorize` found."""
    principal: Principal | None = connection.scope.get(_PRINCIPAL)
    return principal.tenant if principal else None


async def take_stripe(emitter: Emitter, body: bytes, signature: str | None) -> None:
    """Turn a webhook of Stripe into an event of ours, where we have one for it.

    Raises:
        Refused: See `read_stripe`.
        BackendError: The event could not be stored. The answer is then an error, and Stripe sends its webhook again.
    """
    if event := read_stripe(workspace, _STRIPE_SECRET, body, signature):
        await emitter.send(event.event_type, event.data, tenant=event.tenant, event_id=event.event_id)


webhooks = Webhooks(event_types=EVENT_TYPES, authenticate=authenticate, tenant=tenant)
