"""`Console`, the app for operators: who may open it, which page a path means, and the checks of each action."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import quote, unquote

import anyio.to_thread
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocketClose

from starlette_webhooks.authentication import is_same_origin
from starlette_webhooks.console.assets import load_console
from starlette_webhooks.console.dead_letters import (
    confirm_discard,
    confirm_redrive,
    discard,
    redrive,
    show_dead_letters,
)
from starlette_webhooks.console.endpoint import disable_endpoint, enable_endpoint, show_endpoint
from starlette_webhooks.console.endpoints import show_endpoints
from starlette_webhooks.console.event import show_event, show_payload
from starlette_webhooks.console.events import show_events
from starlette_webhooks.console.layout import HEADERS, refusal
from starlette_webhooks.console.operators import Authorize, Operator, check_authorize, find_operator
from starlette_webhooks.console.overview import show_overview
from starlette_webhooks.console.retries import show_retry
from starlette_webhooks.console.tenants import show_tenants
from starlette_webhooks.console.undelivered import confirm_retry, retry, show_undelivered
from starlette_webhooks.console.visit import ConsoleHost, Letters, Start, Visit, read_form
from starlette_webhooks.exceptions import BackendError, Forbidden, NotFound, NotRunning, NotSupported, RequestError
from starlette_webhooks.types import Clock

__all__ = ["Console"]

_ID = "{id}"


@dataclass(frozen=True, slots=True)
class _View:
    """A page or an action.

    Attributes:
        changes: Whether it is refused to operators who may only look.
    """

    method: str
    path: tuple[str, ...]
    handler: Callable[[Visit], Awaitable[Response]]
    changes: bool = False

    def match(self, path: tuple[str, ...]) -> tuple[str, ...] | None:
        """Return the parts that vary if this is the path of the view, or None."""
        if len(path) != len(self.path):
            return None
        pairs = list(zip(self.path, path, strict=True))
        if any(mine != part and (mine != _ID or not part) for mine, part in pairs):
            return None
        return tuple(part for mine, part in pairs if mine == _ID)


def _view(method: str, path: str, handler: Callable[[Visit], Awaitable[Response]], *, changes: bool = False) -> _View:
    return _View(method, tuple(path.split("/")), handler, changes)


_VIEWS = (
    _view("GET", "", show_overview),
    _view("GET", "tenants", show_tenants),
    _view("GET", "endpoints", show_endpoints),
    _view("GET", "endpoints/{id}", show_endpoint),
    _view("GET", "events", show_events),
    _view("GET", "events/{id}", show_event),
    # Looking changes nothing, but only a click may cause an entry in the audit log.
    _view("POST", "events/{id}/payload", show_payload),
    _view("POST", "endpoints/{id}/disable", disable_endpoint, changes=True),
    _view("POST", "endpoints/{id}/enable", enable_endpoint, changes=True),
    _view("GET", "undelivered", show_undelivered),
    _view("GET", "undelivered/retry", confirm_retry, changes=True),
    _view("POST", "undelivered/retry", retry, changes=True),
    _view("GET", "retries/{id}", show_retry),
    _view("GET", "dead-letters", show_dead_letters),
    _view("GET", "dead-letters/redrive", confirm_redrive, changes=True),
    _view("POST", "dead-letters/redrive", redrive, changes=True),
    _view("GET", "dead-letters/discard", confirm_discard, changes=True),
    _view("POST", "dead-letters/discard", discard, changes=True),
)


class Console:
    """The console for operators. An ASGI app for any mount, made by `webhooks.console(authorize=...)`.

    Args:
        host: The `Webhooks`.
        start: Starts a task in the background.
        clock: Seconds since the epoch.
        letters: Returns the dead letters, for someone who may change them.
        authorize: See `Webhooks.console`.
        read_only: Whether all operators may only look.

    Raises:
        TypeError: There is no `authorize`.
    """

    def __init__(
        self,
        host: ConsoleHost,
        start: Start,
        clock: Clock,
        letters: Letters,
        *,
        authorize: Authorize | None,
        read_only: bool = False,
    ) -> None:
        self._host = host
        self._start = start
        self._clock = clock
        self._letters = letters
        self._authorize = check_authorize(authorize)
        self._read_only = read_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request below the mount."""
        if scope["type"] == "websocket":
            await WebSocketClose()(scope, receive, send)
            return
        request = Request(scope, receive)
        operator = await find_operator(self._authorize, request, read_only=self._read_only)
        response = _nothing_here(scope) if operator is None else await self._respond(request, operator)
        await response(scope, receive, send)

    async def _respond(self, request: Request, operator: Operator) -> Response:
        root: str = request.scope.get("root_path", "")
        path = request.scope["path"].removeprefix(root)
        if path in ("", "/") and not _ends_with_slash(request.scope):
            # Browsers would resolve relative URLs beside the console.
            return RedirectResponse(f"{quote(root.rpartition('/')[2])}/", 307)
        assets = await anyio.to_thread.run_sync(load_console, self._host.settings.portal_accent)
        parts = _parts(request.scope, path.removeprefix("/"))
        if parts[0] == "static" and len(parts) == 3:
            return assets.respond(request, *parts[1:]) or PlainTextResponse("Not Found", 404)
        visit = Visit(
            request=request,
            operator=operator,
            host=self._host,
            start=self._start,
            clock=self._clock,
            letters=self._letters,
            assets=assets,
            path=parts,
        )
        try:
            return await self._answer(visit)
        except NotSupported as exc:
            return refusal(visit, 501, "Not available here", _elsewhere(visit) or exc.detail)
        except RequestError as exc:
            return refusal(visit, exc.status_code, "This cannot be shown", exc.detail)
        except (BackendError, NotRunning) as exc:
            return refusal(visit, 503, "Not available at the moment", str(exc))

    async def _answer(self, visit: Visit) -> Response:
        request = visit.request
        if any("\x00" in value for value in (*visit.path, *request.query_params.values())):
            # Nothing contains it, and PostgreSQL refuses calls with it.
            raise NotFound("There is nothing at this address.")
        method = "GET" if request.method == "HEAD" else request.method
        matching = [(view, found) for view in _VIEWS if (found := view.match(visit.path)) is not None]
        if not matching:
            raise NotFound("There is nothing at this address.")
        allowed = [(view, found) for view, found in matching if view.method == method]
        if not allowed:
            names = ", ".join(sorted({view.method for view, _ in matching}))
            return PlainTextResponse("Method Not Allowed", 405, {**HEADERS, "Allow": names})
        ((view, found),) = allowed
        if method != "GET":
            self._check_same_origin(request)
        if view.changes and visit.operator.read_only:
            raise Forbidden("You may look at this, but not change it.")
        form = {} if method == "GET" else await read_form(request, self._host.settings.body_timeout)
        return await view.handler(visit.matched(found, form))

    def _check_same_origin(self, request: Request) -> None:
        if not is_same_origin(request, self._host.settings.public_url):
            raise Forbidden(
                "This call came from another site, or does not name its origin. Use the buttons on the pages of this "
                "console. Behind a proxy that changes the host, set `WEBHOOKS_PUBLIC_URL`."
            )


def _parts(scope: Scope, path: str) -> tuple[str, ...]:
    """Return the parts of a path below the console, as the browser sent them: within an id, a slash is `%2F`."""
    sent = (scope.get("raw_path") or b"").partition(b"?")[0].decode("latin-1").split("/")
    length = -1
    for place in range(len(sent) - 1, -1, -1):
        length += 1 + len(unquote(sent[place]))
        if length >= len(path):
            parts = tuple(unquote(part) for part in sent[place:])
            return parts if "/".join(parts) == path else tuple(path.split("/"))
    return tuple(path.split("/"))


def _ends_with_slash(scope: Scope) -> bool:
    # Some frameworks change `path`, but not `raw_path`.
    sent: bytes = scope.get("raw_path") or scope["path"].encode()
    return sent.partition(b"?")[0].endswith(b"/")


def _nothing_here(scope: Scope) -> Response:
    # The same as any path that does not exist, so that nobody else learns that there is a console.
    if "app" in scope:
        raise HTTPException(404)
    return PlainTextResponse("Not Found", 404)


def _elsewhere(visit: Visit) -> str:
    if visit.backend.name != "svix":
        return ""
    return (
        "Svix stores the endpoints, the deliveries and their attempts, so this console cannot show them. With Svix "
        "cloud, use Svix's own dashboard at https://dashboard.svix.com. With a server of your own, use its API, or the "
        "portal of the tenant. Overview and Dead letters work here."
    )
