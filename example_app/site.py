"""Sessions, sign-in and the home page as plain ASGI apps, which every framework can serve."""

from __future__ import annotations

import os

from anyio import to_thread
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from example_app import pages
from example_app.documents import list_documents, transaction
from example_app.integration import operator, refuse_other_sites, signed_in, workspace
from example_app.workspace import Credentials, Refused, parse

__all__ = ["Sessions", "refuse", "site", "site_routes"]

SECRET = os.environ.get("EXAMPLE_SESSION_SECRET") or os.urandom(32).hex()
"""Signs session cookies. Without a secret in the environment, sessions end with the process."""


class Sessions:
    """Middleware that keeps a session in a signed cookie, at `scope["session"]`.

    Each sign-in creates a new cookie, so that an attacker cannot plant one before (session fixation). The cookie is
    `HttpOnly` and `SameSite=Lax`, and `Secure` over HTTPS.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._plain = SessionMiddleware(app, secret_key=SECRET)
        self._secure = SessionMiddleware(app, secret_key=SECRET, https_only=True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        sessions = self._secure if scope.get("scheme") in ("https", "wss") else self._plain
        await sessions(scope, receive, send)


async def home(request: Request) -> Response:
    """Serve the home page, or the sign-in page."""
    user = signed_in(request.scope)
    if user is None:
        return HTMLResponse(pages.sign_in(), headers=pages.HEADERS)
    async with transaction() as session:
        documents = await list_documents(session, user.id)
    operates = operator(request) is not None
    page = pages.home(user, workspace.keys(user.id), documents, operates=operates)
    return HTMLResponse(page, headers=pages.HEADERS)


async def sign_in(request: Request) -> Response:
    """Start a session."""
    if "origin" in request.headers or "sec-fetch-site" in request.headers:
        # There is no cookie yet, but another site must not sign its visitors in to an account of its choice.
        refuse_other_sites(request)
    user = await to_thread.run_sync(workspace.sign_in, parse(Credentials, await request.body()))
    request.session.clear()
    request.session["user"] = user.id
    return JSONResponse(user.document())


async def sign_out(request: Request) -> Response:
    """End the session."""
    refuse_other_sites(request)
    request.session.clear()
    return Response(status_code=204)


async def refuse(request: Request, error: Exception) -> Response:
    """Return the error of a refused request."""
    assert isinstance(error, Refused)
    return JSONResponse(error.document, error.status)


_routes = [
    Route("/", home),
    Route("/session", sign_in, methods=["POST"]),
    Route("/session", sign_out, methods=["DELETE"]),
]
site = ExceptionMiddleware(Router(routes=_routes), handlers={Refused: refuse})
"""The routes for `/` and `/session`."""

site_routes = [Route(path, site) for path in ("/", "/session")]
"""The same for Starlette and FastAPI. A mount at `/` would also get `/operate`, and nothing would add its slash."""
