"""Signing in and the home page: a plain ASGI app, so that each host serves the same one.

It needs a session at `scope["session"]`, which the host's own session middleware puts there.
"""

from __future__ import annotations

from anyio import to_thread
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route, Router

from example_app import pages
from example_app.integration import signed_in, workspace
from example_app.workspace import Credentials, Refused, parse

__all__ = ["site"]


async def home(request: Request) -> Response:
    """The page for whoever is signed in, or for signing in."""
    user = signed_in(request.scope)
    if user is None:
        return HTMLResponse(pages.sign_in(), headers=pages.HEADERS)
    return HTMLResponse(pages.home(user, workspace.keys(user.id), workspace.documents(user.id)), headers=pages.HEADERS)


async def sign_in(request: Request) -> Response:
    """Begin a session."""
    user = await to_thread.run_sync(workspace.sign_in, parse(Credentials, await request.body()))
    request.session["user"] = user.id
    return JSONResponse(user.document())


async def sign_out(request: Request) -> Response:
    """End the session."""
    request.session.clear()
    return Response(status_code=204)


async def refuse(request: Request, error: Exception) -> Response:
    """Say why a request is not served."""
    assert isinstance(error, Refused)
    return JSONResponse(error.document, error.status)


_routes = [
    Route("/", home),
    Route("/session", sign_in, methods=["POST"]),
    Route("/session", sign_out, methods=["DELETE"]),
]
site = ExceptionMiddleware(Router(routes=_routes), handlers={Refused: refuse})
"""To be served at `/` and `/session`."""
