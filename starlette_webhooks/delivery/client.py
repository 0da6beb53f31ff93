"""The HTTP client of deliveries: sends a POST to an untrusted receiver.

Customers choose the receivers, so every part of the exchange is limited: one deadline from the lookup to the last byte
of the response, 16 KiB of headers, a maximum size of the body, and no redirects, proxies or decompression. A connection
goes to an address that the guard has checked, with the original `Host` and SNI.

It uses AnyIO and h11 instead of a general client. Those look at every open connection for each request, which is slow
with many hosts, and do not allow choosing the address to connect to.
"""

from __future__ import annotations

import ssl
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Self, TypeAlias

import h11
from anyio import (
    AsyncContextManagerMixin,
    BrokenResourceError,
    EndOfStream,
    Lock,
    aclose_forcefully,
    connect_tcp,
    current_effective_deadline,
    current_time,
    fail_after,
    move_on_after,
    sleep,
    to_thread,
)
from anyio.abc import ByteStream
from anyio.streams.tls import TLSStream

from starlette_webhooks.concurrency import running_beside
from starlette_webhooks.delivery.addresses import AddressGuard, ForbiddenAddress, InvalidURL, ParsedURL
from starlette_webhooks.delivery.connection import RESERVED_HEADERS, Connection, build_request
from starlette_webhooks.delivery.failures import (
    NO_ADDRESS,
    DeliveryFailed,
    Dropped,
    OutOfResources,
    connect_reason,
    lookup_failure,
    own_fault,
)
from starlette_webhooks.delivery.tunnels import open_tunnel
from starlette_webhooks.proxy_url import ProxyURL

__all__ = ["RESERVED_HEADERS", "DeliveryClient", "DeliveryFailed", "OutOfResources", "Reply"]

_KEPT_HEADERS = frozenset((b"content-type", b"retry-after"))
_MAX_ADDRESSES = 4
_HUNG_UP = "TLS: connection closed in the handshake"

_Key: TypeAlias = tuple[str, str, str, int]


@dataclass(frozen=True, slots=True)
class Reply:
    """The response of a receiver, with any status.

    Attributes:
        body: As it was received, up to the client's limit.
        headers: `content-type` and `retry-after`, if present.
        raw_headers: All headers, as they were received.
    """

    status: int
    body: bytes
    headers: Mapping[str, str]
    duration_ms: int
    raw_headers: Sequence[tuple[bytes, bytes]] = ()


class DeliveryClient(AsyncContextManagerMixin):
    """Sends deliveries, and keeps idle connections while it is entered with `async with`.

    Args:
        guard: Decides which addresses may be connected to.
        timeout: Seconds for the whole attempt: lookup, connection, TLS, request and response.
        max_response: Bytes of a response body that are kept. If there are more, the connection is closed.
        max_idle: Idle connections to keep over all hosts. Above this, the one that has been idle longest is closed.
        idle_seconds: How long a connection is kept idle.
        max_age: Seconds after which a connection is not used again, so that a receiver can move to another address.
        stale_seconds: If a kept connection ends within this time of a request, the request is sent again on another
            one.
        ssl_context: For tests. The system's certificates by default.
        ca_file: Certificates of further authorities, in PEM.
        proxy: What opens all connections. Names are then resolved there, and its rules say what may be reached.
    """

    def __init__(
        self,
        guard: AddressGuard,
        *,
        timeout: float = 15.0,
        max_response: int = 16_384,
        max_idle: int = 1024,
        idle_seconds: float = 30.0,
        max_age: float = 120.0,
        stale_seconds: float = 1.0,
        ssl_context: ssl.SSLContext | None = None,
        ca_file: str | None = None,
        proxy: ProxyURL | None = None,
    ) -> None:
        self._guard = guard
        self._timeout = timeout
        self._max_response = max_response
        self._max_idle = max_idle
        self._idle_seconds = idle_seconds
        self._max_age = max_age
        self._stale_seconds = stale_seconds
        self._ssl_context = ssl_context
        self._ca_file = ca_file
        self._proxy = proxy
        self._entered = False
        # Both contain the same connections, the most recently used one last.
        self._idle: OrderedDict[Connection, None] = OrderedDict()
        self._by_key: dict[_Key, list[Connection]] = {}

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        self._ssl_lock = Lock()
        async with running_beside(self._sweep):
            self._entered = True
            try:
                yield self
            finally:
                self._entered = False
                await self._trim(0)

    @property
    def idle_connections(self) -> int:
        """The number of idle connections."""
        return len(self._idle)

    async def post(self, url: str, headers: Sequence[tuple[bytes, bytes]], body: bytes, *, tenant: str = "") -> Reply:
        """Send one POST request and return the response, with any status. Does not follow redirects.

        Args:
            headers: Any headers except those in `RESERVED_HEADERS`.
            tenant: Who sends. Tenants share no connections: a receiver could tell from one that they use the same host,
                and one that keeps state of connections would mix them up.

        Raises:
            DeliveryFailed: There was no response, or the request cannot be sent.
            OutOfResources: This process lacks a resource that an attempt needs. This is not the receiver's fault.
        """
        if not self._entered:
            raise RuntimeError("`DeliveryClient` is not running. Enter it with `async with` before posting.")
        started = time.monotonic()
        failure = DeliveryFailed("timeout")
        # One deadline for everything, so that a receiver gains no time by being slow in every step.
        with move_on_after(self._timeout):
            try:
                head, content = await self._attempt(tenant, url, headers, body)
                kept = {
                    name.decode("ascii"): value.decode("latin-1")
                    for name, value in head.headers
                    if name in _KEPT_HEADERS
                }
                return Reply(head.status_code, content, kept, _elapsed_ms(started), head.headers.raw_items())
            except DeliveryFailed as exc:
                failure = exc
            except Exception as exc:
                ours = own_fault(exc)
                if ours is None:
                    raise
                raise ours from exc
        failure.duration_ms = _elapsed_ms(started)
        raise failure from None

    async def _attempt(
        self, tenant: str, url: str, headers: Sequence[tuple[bytes, bytes]], body: bytes
    ) -> tuple[h11.Response, bytes]:
        try:
            target = self._guard.check_url(url)
        except ForbiddenAddress:
            raise DeliveryFailed("address is not allowed") from None
        except InvalidURL as exc:
            raise DeliveryFailed(str(exc)) from None
        request = build_request(target, headers, len(body)) + body
        key = (tenant, *target.origin)
        connection = await self._take(key)
        if connection is not None:
            started = time.monotonic()
            try:
                return await self._exchange(connection, request)
            except Dropped:
                # The receiver closed an idle connection while this request was being sent, so it has not read it.
                # If this took longer, it may have read the request, so the retry schedule decides.
                if time.monotonic() - started > self._stale_seconds:
                    raise
        return await self._exchange(await self._connect(target, key), request)

    async def _take(self, key: _Key) -> Connection | None:
        while stack := self._by_key.get(key):
            connection = stack[-1]
            self._forget(connection)
            # The host is not resolved again: this connection still goes to the address that was checked, even if the
            # name has another one now. `max_age` lets the receiver move to another address.
            allowed = not connection.peer or self._guard.is_allowed(connection.peer)
            if allowed and self._is_alive(connection, time.monotonic()):
                return connection
            await connection.close()
        return None

    def _is_alive(self, connection: Connection, now: float) -> bool:
        return now < connection.expires and now - connection.born < self._max_age and connection.is_silent()

    def _forget(self, connection: Connection) -> None:
        del self._idle[connection]
        stack = self._by_key[connection.key]
        if stack[-1] is connection:
            stack.pop()
        else:
            stack.remove(connection)
        if not stack:
            del self._by_key[connection.key]

    async def _keep(self, connection: Connection) -> None:
        connection.expires = time.monotonic() + self._idle_seconds
        self._idle[connection] = None
        self._by_key.setdefault(connection.key, []).append(connection)
        await self._trim(self._max_idle if self._entered else 0)

    async def _trim(self, limit: int) -> None:
        while len(self._idle) > limit:
            connection = next(iter(self._idle))
            self._forget(connection)
            await connection.close()

    async def _sweep(self) -> None:
        while True:
            await sleep(self._idle_seconds / 4)
            now = time.monotonic()
            dead = [connection for connection in self._idle if not self._is_alive(connection, now)]
            for connection in dead:
                self._forget(connection)
            for connection in dead:
                await connection.close()

    async def _connect(self, target: ParsedURL, key: _Key) -> Connection:
        if self._proxy is not None:
            return Connection(key, "", await self._open_through(self._proxy, target))
        addresses = (await self._resolve(target, key[0]))[:_MAX_ADDRESSES]
        reason = ""
        for tried, address in enumerate(addresses):
            # Each address gets a share of the time, so that one that does not respond does not block the others.
            share = (current_effective_deadline() - current_time()) / (len(addresses) - tried)
            try:
                with fail_after(share):
                    return Connection(key, address, await self._open(target, address))
            except (BrokenResourceError, EndOfStream):
                reason = _HUNG_UP
            except OSError as exc:
                if (ours := own_fault(exc)) is not None:
                    raise ours from exc
                reason = connect_reason(exc)
        raise DeliveryFailed(reason)

    async def _resolve(self, target: ParsedURL, tenant: str) -> list[str]:
        try:
            return await self._guard.addresses(target.host, target.port, tenant=tenant)
        except ForbiddenAddress:
            raise DeliveryFailed(NO_ADDRESS) from None
        except OSError as exc:
            raise own_fault(exc) or lookup_failure(exc) from exc

    async def _open(self, target: ParsedURL, address: str) -> ByteStream:
        if target.scheme == "http":
            return await connect_tcp(address, target.port)
        return await connect_tcp(
            address,
            target.port,
            ssl_context=await self._certificates(),
            tls_hostname=target.host,
            tls_standard_compatible=False,
        )

    async def _open_through(self, proxy: ProxyURL, target: ParsedURL) -> ByteStream:
        stream = await open_tunnel(proxy, target, await self._certificates() if proxy.tls else None)
        if target.scheme == "http":
            return stream
        try:
            return await TLSStream.wrap(
                stream, hostname=target.host, ssl_context=await self._certificates(), standard_compatible=False
            )
        except BaseException as exc:
            await aclose_forcefully(stream)
            if isinstance(exc, (BrokenResourceError, EndOfStream)):
                raise DeliveryFailed(_HUNG_UP) from None
            if isinstance(exc, OSError):
                raise own_fault(exc) or DeliveryFailed(connect_reason(exc)) from exc
            raise

    async def _certificates(self) -> ssl.SSLContext:
        async with self._ssl_lock:
            if self._ssl_context is None:
                # Reads all certificates of the system, which takes tens of milliseconds.
                self._ssl_context = await to_thread.run_sync(_load_certificates, self._ca_file)
            return self._ssl_context

    async def _exchange(self, connection: Connection, request: bytes) -> tuple[h11.Response, bytes]:
        try:
            response = await connection.exchange(request, self._max_response)
        except BaseException:
            await connection.close()
            raise
        if connection.reusable:
            await self._keep(connection)
        else:
            await connection.close()
        return response


def _elapsed_ms(started: float) -> int:
    return round((time.monotonic() - started) * 1000)


def _load_certificates(ca_file: str | None) -> ssl.SSLContext:
    file = ssl.get_default_verify_paths().cafile
    if file is not None:
        # OpenSSL skips files that it cannot open, and a context without authorities would refuse every receiver
        # forever.
        with open(file):
            pass
    context = ssl.create_default_context()
    if ca_file is not None:
        context.load_verify_locations(ca_file)
    return context
