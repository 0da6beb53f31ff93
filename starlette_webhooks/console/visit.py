"""One request of an operator, and what the pages need to answer it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias
from urllib.parse import parse_qsl, quote, urlencode

import anyio
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response

from starlette_webhooks.audit import Action, Actor, record
from starlette_webhooks.console.operators import Operator, actor_of_operator
from starlette_webhooks.exceptions import InvalidRequest

if TYPE_CHECKING:
    from starlette_webhooks.audited_dead_letters import AuditedDeadLetters
    from starlette_webhooks.backends.base import Backend
    from starlette_webhooks.health import Health
    from starlette_webhooks.portal.assets import Assets
    from starlette_webhooks.settings import WebhooksSettings
    from starlette_webhooks.types import Clock

__all__ = ["ConsoleHost", "Letters", "Start", "Visit", "read_form"]

_MAX_FORM = 65_536
_FORM = "application/x-www-form-urlencoded"


class ConsoleHost(Protocol):
    """What the console needs from `Webhooks`."""

    backend: Backend
    settings: WebhooksSettings

    async def fresh_health(self) -> Health:
        """Return the state of the backend and this process."""


Start: TypeAlias = Callable[[Callable[[], Coroutine[Any, Any, None]]], None]
"""Starts a task that ends with the lifespan of `Webhooks`, at the latest."""

Letters: TypeAlias = "Callable[[Actor], AuditedDeadLetters]"
"""Returns the dead letters, for someone who may change them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One request to the console. All URLs that it returns are relative, so that they work behind any proxy.

    Attributes:
        start: Starts a task in the background.
        clock: Seconds since the epoch.
        letters: Returns the dead letters.
        path: The parts of the path below the console. Only in such a part, `%2F` is a slash.
        params: The parts that vary, such as an id.
        form: The fields of the submitted form. Empty for `GET`.
    """

    request: Request
    operator: Operator
    host: ConsoleHost
    start: Start
    clock: Clock
    letters: Letters
    assets: Assets
    path: tuple[str, ...]
    params: tuple[str, ...] = ()
    form: Mapping[str, str] = field(default_factory=dict)

    def matched(self, params: tuple[str, ...], form: Mapping[str, str]) -> Visit:
        """Return the visit with the parts of its path and the fields of its form."""
        return replace(self, params=params, form=form)

    @property
    def backend(self) -> Backend:
        """The backend."""
        return self.host.backend

    @property
    def actor(self) -> Actor:
        """The operator, for the audit log."""
        return actor_of_operator(self.request, self.operator)

    @property
    def dead_letters(self) -> AuditedDeadLetters:
        """The dead letters, which the operator may change."""
        return self.letters(self.actor)

    def query(self, name: str) -> str:
        """Return a parameter of the query, or an empty string."""
        return self.request.query_params.get(name, "").strip()

    def link(self, *parts: str, **query: str | None) -> str:
        """Return a URL below the console, relative to the browser's address."""
        above = "../" * (len(self.path) - 1) or "./"
        kept = {name: value for name, value in query.items() if value}
        return above + "/".join(quote(part, safe="") for part in parts) + (f"?{urlencode(kept)}" if kept else "")

    def redirect(self, *parts: str, **query: str | None) -> Response:
        """Return a redirect to a page of the console, after an action."""
        return RedirectResponse(self.link(*parts, **query), 303)

    def record(self, action: Action, tenant: str, **details: str | Sequence[str]) -> None:
        """Write an entry of the audit log."""
        record(action, tenant, self.actor, **details)


async def read_form(request: Request, timeout: float) -> Mapping[str, str]:
    """Return the submitted form fields.

    Raises:
        InvalidRequest: The body is too large, too slow, or not a form of the console.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in ("", _FORM):
        # Read as such a form, it would have no fields, and an action without a filter concerns everything.
        raise InvalidRequest(f"The form must be sent as `{_FORM}`.")
    body = b""
    with suppress(ClientDisconnect), anyio.move_on_after(timeout):
        async with aclosing(request.stream()) as stream:
            async for chunk in stream:
                body += chunk
                if len(body) > _MAX_FORM:
                    raise InvalidRequest("The form is too large.")
        form = dict(parse_qsl(body.decode("latin-1")))
        if any("\x00" in value for value in form.values()):
            raise InvalidRequest("The form contains NUL (U+0000).")
        return form
    raise InvalidRequest("The form did not arrive in time.")
