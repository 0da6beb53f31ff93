"""The portal: our own page, or the portal of the backend in a frame, under a strict Content-Security-Policy."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, aclosing, suppress
from html import escape
from string import Template
from typing import TYPE_CHECKING, Protocol
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

import anyio
import anyio.to_thread
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from starlette_webhooks.audit import Action, Actor, record
from starlette_webhooks.authentication import check_same_origin
from starlette_webhooks.exceptions import BackendError, RequestError
from starlette_webhooks.portal.assets import Assets, load_assets
from starlette_webhooks.portal.session import session_cookie
from starlette_webhooks.redaction import redact_query
from starlette_webhooks.scope import SESSION, is_too_long

if TYPE_CHECKING:
    from starlette_webhooks.authentication import Principal
    from starlette_webhooks.backends.base import PortalAccess
    from starlette_webhooks.sessions import Session, SessionRegister
    from starlette_webhooks.settings import WebhooksSettings

__all__ = ["Portal", "PortalHost", "portal_routes"]

_METHODS = ("GET", "HEAD")
_FORMS = ("/enter", "/sign-out")
_MAX_FORM = 8192
# Seconds for which a browser sends the cookie of a session that has expired. Its streams learn the reason, and continue
# after the next sign-in.
_REMEMBERED = 86_400
_LOOK = {"theme": ("light", "dark"), "nav": ("none",)}


class PortalHost(Protocol):
    """What the portal needs from `Webhooks`."""

    @property
    def sessions(self) -> SessionRegister:
        """Gives out sessions for links."""

    async def find_principal(self, connection: HTTPConnection) -> Principal | None:
        """Return who opens the page. May raise `RequestError`."""

    async def find_session(self, connection: HTTPConnection) -> Session | None:
        """The session of the portal that the cookie names."""

    async def sign_out(self, session: Session) -> None:
        """End a session."""

    def admit(self, tenant: str) -> AbstractContextManager[None]:
        """Admit a call of this tenant, for the duration of the block. Raises `TooManyRequests`."""

    def count_session(self, tenant: str) -> None:
        """Count a session that is being opened. Raises `TooManyRequests`."""

    async def backend_portal(self, principal: Principal) -> PortalAccess | None:
        """Return access to the backend's own portal, or None if it uses ours."""


class Portal:
    """The portal, where customers manage their webhooks. An ASGI app for any mount.

    Args:
        settings: The appearance, the names of the scopes, and which sites may frame the page.
        host: Returns what the portal needs from `Webhooks`. Raises `NotRunning` if it is not running.
        api: The routes, if the portal is mounted separately. It serves them at `api/` below itself. None if the portal
            is one of the routes.
        signature: The signature headers of deliveries, `webhook`, `svix` or `both`, if the backend determines them.
            By default, those of the settings.

    Attributes:
        public_path: The path of the routes below the host's root path, for the commands that the portal shows. None
            for the URL that the portal itself calls.
    """

    def __init__(
        self,
        settings: WebhooksSettings,
        host: Callable[[], PortalHost],
        *,
        api: ASGIApp | None = None,
        signature: str | None = None,
    ) -> None:
        self.public_path: str | None = None
        self._settings = settings
        self._host = host
        self._api = api
        self._signature = signature or settings.signature_headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request below the mount."""
        await self.serve(scope, receive, send, scope.get("root_path", ""))

    async def serve(self, scope: Scope, receive: Receive, send: Send, root: str) -> None:
        """Serve one request. `root` is the path of the portal."""
        path = scope["path"].removeprefix(root)
        if self._api is not None and path.startswith("/api/"):
            await self._api({**scope, "root_path": f"{root}/api"}, receive, send)
        elif scope["type"] == "websocket":
            await WebSocketClose()(scope, receive, send)
        else:
            if is_too_long(scope["query_string"]):
                redact_query(scope)
            assets = await anyio.to_thread.run_sync(load_assets, self._settings.portal_accent)
            visit = _Visit(Request(scope, receive), root, path, assets, self._settings)
            await (await self._respond(visit))(scope, receive, send)

    async def _respond(self, visit: _Visit) -> Response:
        request = visit.request
        methods = ("POST",) if visit.path in _FORMS else _METHODS
        if request.method not in methods:
            return visit.message(405, "Method not allowed", "Open it in a browser.", {"Allow": ", ".join(methods)})
        _, kind, *rest = visit.path.split("/") if visit.path.count("/") == 3 else ("", "")
        if kind == "static":
            return visit.assets.respond(request, *rest) or visit.not_found()
        if visit.path not in ("", "/", *_FORMS):
            return visit.not_found()
        try:
            return await self._answer(visit, self._host())
        except RequestError as exc:
            return visit.message(exc.status_code, "This page cannot be shown", exc.detail, exc.headers)
        except BackendError:
            text = "Your webhooks are safe, but their settings cannot be reached at the moment. Try again in a minute."
            return visit.message(503, "Not available at the moment", text, {"Retry-After": "30"})

    async def _answer(self, visit: _Visit, host: PortalHost) -> Response:
        token = visit.request.query_params.get("token")
        if visit.path == "/enter":
            return await self._enter(visit, host)
        if visit.path == "/sign-out":
            return await self._sign_out(visit, host)
        return await self._show(visit, host) if token is None else await self._offer(visit, token, host)

    async def _offer(self, visit: _Visit, token: str, host: PortalHost) -> Response:
        """Name whose portal a link opens, with a button that opens it.

        Programs that look at links, as those of mail servers do, would use up a link that opens by `GET`. And no page
        can sign its visitors in to somebody else's portal without their noticing.
        """
        redact_query(visit.request.scope)
        session = await host.sessions.read_link(token)
        if session is None:
            return visit.expired()
        tenant = session.principal.tenant
        with host.admit(tenant):
            here = await host.find_session(visit.request)
        text = f"This link signs this browser in to the webhooks of {tenant}."
        if here is not None and here.principal.tenant != tenant:
            text += f" It is signed in to those of {here.principal.tenant} now, and will be signed out there."
        facts = {
            "heading": f"Open the webhooks of {tenant}",
            "text": text,
            "label": "Open",
            "action": visit.beside("enter"),
            "token": token,
            "chosen": visit.theme,
            "nav": visit.nav,
        }
        return visit.page("enter", facts, visit.headers())

    async def _enter(self, visit: _Visit, host: PortalHost) -> Response:
        """Turn the token of a link into a cookie, because people share addresses."""
        check_same_origin(visit.request, self._settings.public_url)
        form = await visit.form(self._settings.body_timeout)
        token = form.get("token", "")
        link = await host.sessions.read_link(token)
        if link is None:
            return visit.expired()
        tenant = link.principal.tenant
        with host.admit(tenant):
            host.count_session(tenant)
            opened = await host.sessions.follow_link(token)
        if opened is None:
            return visit.expired()
        token, session = opened
        self._record("portal.opened", visit, session)
        before = await host.find_session(visit.request)
        if before is not None:
            await host.sign_out(before)
        look = urlencode({name: form[name] for name, known in _LOOK.items() if form.get(name) in known})
        left = max(1, int(session.expires - host.sessions.clock()))
        return self._redirect(visit, f"./?{look}" if look else "./", token, left + _REMEMBERED)

    async def _sign_out(self, visit: _Visit, host: PortalHost) -> Response:
        check_same_origin(visit.request, self._settings.public_url)
        session = await host.find_session(visit.request)
        if session is not None:
            with host.admit(session.principal.tenant):
                await host.sign_out(session)
            self._record("portal.signed_out", visit, session)
        return self._redirect(visit, "./", "", 0)

    def _record(self, action: Action, visit: _Visit, session: Session) -> None:
        client = visit.request.client
        actor = Actor("session", session.principal.subject, "" if client is None else client.host)
        record(action, session.principal.tenant, actor)

    def _redirect(self, visit: _Visit, location: str, token: str, max_age: int) -> Response:
        cookie = session_cookie(
            token,
            path=self._cookie_path(visit),
            max_age=max_age,
            secure="https" in (visit.request.scope.get("scheme"), urlsplit(self._settings.public_url or "").scheme),
            framed=bool(self._settings.portal_frame_ancestors),
        )
        return Response(status_code=303, headers={**visit.headers(), "Location": location, "Set-Cookie": cookie})

    def _cookie_path(self, visit: _Visit) -> str:
        """Return the path that the portal and the routes share, as the browser sees it."""
        inside = visit.root if self._api is not None else visit.root.rpartition("/")[0]
        if self._settings.public_url is None:
            return inside
        public = unquote(urlsplit(self._settings.public_url).path)
        if self._api is None:
            return public
        # A separate mount of the portal is below the same prefix as the routes.
        prefix = public.removesuffix(self.public_path or "\0")
        outer: str = visit.request.scope.get("app_root_path", "")
        return "/" if prefix == public else prefix + inside.removeprefix(outer)

    async def _show(self, visit: _Visit, host: PortalHost) -> Response:
        principal = await host.find_principal(visit.request)
        if principal is None:
            text = "Sign in, then open this page again. If a link brought you here, it may have expired."
            return visit.message(401, "Please sign in", text, {"WWW-Authenticate": "Bearer"})
        if self._settings.read_scope not in principal.scopes:
            text = f"Your account cannot open this page. It requires the scope {self._settings.read_scope}."
            return visit.message(403, "Access denied", text)
        with host.admit(principal.tenant):
            access = await host.backend_portal(principal)
        if access is not None:
            parts = urlsplit(access.url)
            headers = visit.headers(frames=[f"{parts.scheme}://{parts.netloc}"])
            return visit.page("frame", {"url": access.url}, headers)
        signed_in = SESSION in visit.request.scope
        return visit.page("page", self._facts(visit, principal, signed_in), visit.headers())

    def _facts(self, visit: _Visit, principal: Principal, signed_in: bool) -> dict[str, str]:
        settings = self._settings
        outer: str = visit.request.scope.get("app_root_path", "")
        installed = "" if self.public_path is None else f"{outer}{self.public_path}"
        return {
            "api": visit.beside("api/") if self._api is not None else ("../" if visit.slash else "./"),
            "public": settings.public_url or installed,
            "logo": settings.portal_logo or "",
            "write": "true" if settings.write_scope in principal.scopes else "false",
            "signature": self._signature,
            "out": visit.beside("sign-out") if signed_in else "",
            "tenant": principal.tenant,
            "nav": visit.nav,
        }


class _Visit:
    """One request to the portal. All URLs that it returns are relative, so that they work behind any proxy."""

    def __init__(self, request: Request, root: str, path: str, assets: Assets, settings: WebhooksSettings) -> None:
        self.request = request
        self.root = root
        self.path = path
        self.assets = assets
        self.theme, self.nav = (self._look(name) for name in ("theme", "nav"))
        self._settings = settings
        # The browser resolves relative URLs by this path. Some frameworks change `path`, but not `raw_path`.
        sent = request.scope.get("raw_path") or quote(request.scope["path"]).encode()
        self.slash = sent.partition(b"?")[0].endswith(b"/")

    def _look(self, name: str) -> str:
        asked = self.request.query_params.get(name, "")
        return asked if asked in _LOOK[name] else ""

    def beside(self, name: str) -> str:
        """Return a URL below the portal, relative to the browser's address."""
        return name if self.slash else f"{quote(self.root.rpartition('/')[2])}/{name}"

    def headers(self, frames: Iterable[str] = ()) -> dict[str, str]:
        """Return the security headers."""
        headers = {
            "Cache-Control": "no-store",
            "Content-Security-Policy": self._policy(frames),
            # Windows of other sites cannot keep a reference to the page.
            "Cross-Origin-Opener-Policy": "same-origin",
            "Referrer-Policy": "same-origin",
            "X-Content-Type-Options": "nosniff",
        }
        if not self._settings.portal_frame_ancestors:
            headers["X-Frame-Options"] = "SAMEORIGIN"
        return headers

    def _policy(self, frames: Iterable[str]) -> str:
        logo = urlsplit(self._settings.portal_logo or "")
        images = f" https://{logo.netloc}" if logo.scheme == "https" else ""
        ancestors = " ".join(["'self'", *self._settings.portal_frame_ancestors])
        directives = {
            "default-src": "'none'",
            "script-src": "'self'",
            "style-src": "'self'",
            "img-src": f"'self' data:{images}",
            "connect-src": "'self'",
            "form-action": "'self'",
            "base-uri": "'none'",
            "frame-src": " ".join(frames) or "'none'",
            "frame-ancestors": ancestors,
        }
        return "; ".join(f"{name} {value}" for name, value in directives.items())

    def page(self, name: str, facts: dict[str, str], headers: dict[str, str], status_code: int = 200) -> Response:
        """Render a page from its template. Escapes all values."""
        on_page = self.path in ("", "/")
        static = self.beside("") if on_page else "../" * (self.path.count("/") - 1)
        static += f"static/{self.assets.version}"
        brand = self._settings.portal_brand
        filled = {
            **{fact: escape(value) for fact, value in facts.items()},
            "title": escape(f"{facts['heading']} · {brand}" if "heading" in facts else brand),
            "assets": escape(static),
            "brand": escape(brand),
            "theme": f' data-theme="{self.theme}"' if self.theme else "",
        }
        return HTMLResponse(Template(self.assets.pages[name]).substitute(filled), status_code, headers)

    def message(self, status: int, heading: str, text: str, headers: dict[str, str] | None = None) -> Response:
        """Return a page with a short message."""
        return self.page("message", {"heading": heading, "text": text}, {**self.headers(), **(headers or {})}, status)

    def expired(self) -> Response:
        """Return the page for an expired or used link."""
        text = "Links to this page work once and for a limited time. Get a new link where you got this one."
        return self.message(401, "This link has expired", text)

    async def form(self, timeout: float) -> dict[str, str]:
        """Return the submitted form fields. Empty if the body is too large, too slow or incomplete."""
        body = b""
        with suppress(ClientDisconnect), anyio.move_on_after(timeout):
            async with aclosing(self.request.stream()) as stream:
                async for chunk in stream:
                    body += chunk
                    if len(body) > _MAX_FORM:
                        return {}
            return dict(parse_qsl(body.decode("latin-1")))
        return {}

    def not_found(self) -> Response:
        """Return the page for unknown paths."""
        return self.message(404, "Not found", "There is nothing at this address.")


def portal_routes(portal: Portal, path: str) -> list[BaseRoute]:
    """Return routes that serve the portal at `path`, with and without a trailing slash, and its files below."""

    async def page(scope: Scope, receive: Receive, send: Send) -> None:
        await portal.serve(scope, receive, send, scope.get("root_path", "") + path)

    return [Route(path, _App(page), name="portal"), Mount(path, portal, name="portal_files")]


class _App:
    """An ASGI app that `Route` does not mistake for a request handler."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)
