"""Calls Svix, with a limit of concurrent calls and with deadlines, and translates its errors."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from email.utils import parsedate_to_datetime
from functools import partial
from typing import TYPE_CHECKING, ParamSpec, TypeVar
from urllib.parse import urlsplit

import anyio
from anyio import CapacityLimiter, to_thread

from starlette_webhooks.backends.svix.errors import Answer, SvixUnavailable, translate
from starlette_webhooks.backends.svix.sdk import base_url, make_sdk
from starlette_webhooks.budget import Budget
from starlette_webhooks.delivery.retry import parse_retry_after
from starlette_webhooks.exceptions import BackendUnavailable, NotRunning

if TYPE_CHECKING:
    import httpx
    from svix.api import SvixAsync

    from starlette_webhooks.relay.clock import TimeSource
    from starlette_webhooks.settings import WebhooksSettings

__all__ = ["SvixClient", "require_asyncio"]


P = ParamSpec("P")
T = TypeVar("T")

_RETRIES = (0.1, 0.3)
_KEEP_ALIVE = 30.0
_BODY_LENGTH = 2000
_OFFSET_AGE = 300.0

_CLOUD = "svix.com"

_answer: ContextVar[Answer | None] = ContextVar("starlette_webhooks.svix.answer", default=None)
_for_relay: ContextVar[bool] = ContextVar("starlette_webhooks.svix.for_relay", default=False)


def _is_self_hosted(url: str | None) -> bool:
    host = "" if url is None else urlsplit(url).hostname or url
    return url is not None and host != _CLOUD and not host.endswith("." + _CLOUD)


class SvixClient:
    """Calls Svix. Tenants share the calls at a time fairly, and the relay has as many of its own.

    Attributes:
        sdk: For calls with a waiting caller. It retries a few times within the deadline.
        sdk_once: For the relay, which handles each failure itself.
        error: The current problem with Svix, or None.
    """

    sdk: SvixAsync
    sdk_once: SvixAsync

    def __init__(self, settings: WebhooksSettings, time: TimeSource) -> None:
        if settings.svix_api_key is None:
            raise BackendUnavailable("The Svix backend needs an API key. Set `SVIX_API_KEY`.")
        self._token = settings.svix_api_key.get_secret_value()
        self._settings = settings
        self._time = time
        self._http: httpx.AsyncClient | None = None
        self._offset: float | None = None
        self._offset_from = 0.0
        self.server = settings.svix_server_url or "https://api.svix.com"
        self.self_hosted = _is_self_hosted(settings.svix_server_url)
        self.error: BackendUnavailable | None = None

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Keep connections to Svix open. Does not call Svix."""
        self._slots = Budget(self._settings.svix_concurrency)
        self._relay_slots = CapacityLimiter(self._settings.svix_concurrency)
        # The import takes half a second, and creating the TLS context also takes time.
        http = await to_thread.run_sync(self._build)
        try:
            self._http = http
            yield
        finally:
            self._http = None
            with anyio.CancelScope(shield=True):
                await http.aclose()

    def _build(self) -> httpx.AsyncClient:
        import httpx

        from starlette_webhooks.certificates import trusted_authorities

        # Loads all models, which the first call would otherwise import on the event loop.
        importlib.import_module("svix.models")
        most = 2 * self._settings.svix_concurrency
        http = httpx.AsyncClient(
            timeout=self._settings.svix_timeout,
            verify=trusted_authorities(),
            limits=httpx.Limits(max_connections=most, max_keepalive_connections=most, keepalive_expiry=_KEEP_ALIVE),
            event_hooks={"response": [self._note]},
        )
        self.sdk = self._make_sdk(http, _RETRIES)
        self.sdk_once = self._make_sdk(http, ())
        self.server = base_url(self.sdk)
        return http

    def _make_sdk(self, http: httpx.AsyncClient, retries: Sequence[float]) -> SvixAsync:
        settings = self._settings
        return make_sdk(
            self._token, http, server_url=settings.svix_server_url, retries=retries, timeout=settings.svix_timeout
        )

    async def _note(self, response: httpx.Response) -> None:
        # The SDK does not expose headers, or the bodies of errors that it cannot parse.
        self._note_time(response.headers.get("date"))
        answer = _answer.get()
        if answer is None:
            return
        answer.status = response.status_code
        answer.retry_after = parse_retry_after(response.headers.get("retry-after"), self._time.now())
        answer.body = ""
        if response.status_code >= 400:
            answer.body = (await response.aread())[:_BODY_LENGTH].decode("utf-8", "replace")

    def _note_time(self, date: str | None) -> None:
        # `Date` has whole seconds and is delayed by the network, so each difference is a lower bound. The greatest is
        # best.
        try:
            there = parsedate_to_datetime(date or "").timestamp()
        except ValueError:
            return
        # Relative to the monotonic clock, because the state of streams must not depend on this machine's time of day.
        now = self._time.monotonic()
        offset = there - now
        if self._offset is None or offset > self._offset or now - self._offset_from > _OFFSET_AGE:
            self._offset = offset
            self._offset_from = now

    def now(self) -> float:
        """Return the least possible time at Svix, in seconds since the epoch."""
        return self._time.now() if self._offset is None else self._time.monotonic() + self._offset

    @contextmanager
    def for_relay(self) -> Iterator[None]:
        """Let the calls of the block use the slots of the relay, which calls of customers cannot occupy."""
        token = _for_relay.set(True)
        try:
            yield
        finally:
            _for_relay.reset(token)

    async def call(self, operation: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a method of the SDK, with at most `svix_concurrency` calls at a time and within `svix_timeout` seconds.

        Raises:
            BackendUnavailable: Earlier calls of the same tenant, or of many others, have taken too long.
            SvixUnavailable: The call may succeed later: network, timeout, 429, 5xx, a key that is not accepted.
            SvixRefused: The call will not succeed. `Missing` if an object does not exist.
        """
        if self._http is None:
            raise NotRunning
        deadline = anyio.current_time() + self._settings.svix_timeout
        # All calls for one tenant begin with the uid of its application.
        tenant = args[0] if args and isinstance(args[0], str) else ""
        async with self._slot(tenant, deadline):
            return await self._call(partial(operation, *args, **kwargs), deadline)

    @asynccontextmanager
    async def _slot(self, tenant: str, deadline: float) -> AsyncIterator[None]:
        if _for_relay.get():
            # The relay is fair to tenants by itself.
            async with self._relay_slots:
                yield
            return
        try:
            with anyio.fail_after(deadline - anyio.current_time()):
                slot = await self._slots.reserve(tenant, 1)
        except TimeoutError:
            # This says nothing about Svix.
            raise BackendUnavailable("Too many calls to Svix are running. Try again later.") from None
        with slot:
            yield

    async def _call(self, operation: Callable[[], Awaitable[T]], deadline: float) -> T:
        answer = Answer()
        token = _answer.set(answer)
        try:
            with anyio.fail_after(deadline - anyio.current_time()):
                result = await operation()
        except Exception as exc:
            error = translate(exc, answer, self.server)
            self._remember(error)
            raise error from exc
        finally:
            _answer.reset(token)
        self.error = None
        return result

    async def done(self, operation: Callable[P, Awaitable[object]], *args: P.args, **kwargs: P.kwargs) -> None:
        """Like `call`, for calls without a result: any 2xx is a success, even if the SDK cannot read the body."""
        try:
            await self.call(operation, *args, **kwargs)
        except SvixUnavailable as exc:
            if not exc.unexpected:
                raise
            self.error = None

    def _remember(self, error: Exception) -> None:
        if isinstance(error, SvixUnavailable):
            self.error = error
        else:
            self.error = None

    async def filters_by_type(self) -> bool | None:
        """Return whether a self-hosted server filters by event type, by its OpenAPI document. None if it has none.

        The document's `info.version` is a constant, so it does not identify versions.
        """
        if self._http is None:
            raise NotRunning
        import httpx

        try:
            with anyio.fail_after(self._settings.svix_timeout):
                response = await self._http.get(f"{self.server}/api/v1/openapi.json")
            properties = response.json()["components"]["schemas"]["EndpointIn"]["properties"]
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, ValueError, KeyError, TypeError):
            return None
        return "eventTypes" in properties


def require_asyncio() -> None:
    """Raise an error if the event loop is not asyncio's."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        raise RuntimeError(
            "The Svix backend requires asyncio, because the `svix` SDK does. Run the app on asyncio, or unset "
            "`SVIX_API_KEY` to use the SQLite backend."
        ) from None
