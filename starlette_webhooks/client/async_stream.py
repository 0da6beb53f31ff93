"""`EventStream`, for async code."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Protocol, Self, TypeVar

import anyio
import httpx

from starlette_webhooks.client.answers import check_stream, error_of, unreachable
from starlette_webhooks.client.calls import Call, open_stream, stream_position
from starlette_webhooks.client.errors import ClientError
from starlette_webhooks.client.following import Following, OnRetry
from starlette_webhooks.client.objects import Event

__all__ = ["EventStream"]

T = TypeVar("T")


class Requests(Protocol):
    """What a stream needs of its client."""

    async def send(self, call: Call[T], *, retries: int | None = None) -> T:
        """Make a call, and return its result."""

    async def open(self, call: Call[None], headers: Mapping[str, str]) -> httpx.Response:
        """Make a call whose answer is a stream."""

    def opened(self, stream: EventStream) -> None:
        """Note that a stream has a connection."""

    def closed(self, stream: EventStream) -> None:
        """Note that a stream has no connection any more."""


class EventStream(AsyncIterator[Event]):
    """The events of a stream, which `Client.stream` returns. It connects when the first event is requested.

    Enter it with `async with` to connect before, and to disconnect at the end of the block. After any exception, you
    can continue to iterate: it connects again, and misses nothing.
    """

    def __init__(self, client: Requests, following: Following, on_retry: OnRetry | None = None) -> None:
        self._client = client
        self._following = following
        self._on_retry = on_retry
        self._response: httpx.Response | None = None
        self._chunks: AsyncIterator[bytes] | None = None
        self._step: anyio.CancelScope | None = None
        self._stepped: anyio.Event
        self._closed = False

    @property
    def last_event_id(self) -> str | None:
        """What to pass as `after` to continue later. With a filter, it also moves past events that do not match.

        None before the first connection.
        """
        return self._following.last_event_id

    async def __aenter__(self) -> Self:
        try:
            while self._chunks is None and not self._closed:
                await self._advance()
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(self, *details: object) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while True:
            if self._closed:
                raise StopAsyncIteration
            event = self._following.take()
            if event is not None:
                return event
            await self._advance()

    async def aclose(self) -> None:
        """Disconnect, and end the iteration. Another task may be waiting for an event."""
        self._closed = True
        if self._step is not None:
            # That task disconnects, because a generator cannot be closed while it runs.
            self._step.cancel()
            await self._stepped.wait()
        await self._disconnect()

    async def _advance(self) -> None:
        """Try to connect, or receive what has arrived. `aclose` interrupts it."""
        if self._step is not None:
            raise RuntimeError("Another task is waiting for the next event of this stream. Open one stream per task.")
        self._stepped = anyio.Event()
        try:
            with anyio.CancelScope() as self._step:
                if self._chunks is None:
                    await self._connect()
                else:
                    await self._receive(self._chunks)
        finally:
            self._step = None
            self._stepped.set()

    async def _connect(self) -> None:
        """Try to connect once."""
        following = self._following
        try:
            if following.must_start:
                following.start(await self._client.send(stream_position(), retries=0))
            response = await self._client.open(open_stream(following.params()), following.headers())
            await self._check(response)
        except ClientError as exc:
            await self._pause(exc, following.failed(exc))
            return
        self._response = response
        self._chunks = response.aiter_bytes()
        self._client.opened(self)
        following.connected(anyio.current_time())

    async def _check(self, response: httpx.Response) -> None:
        try:
            if not response.is_success:
                await response.aread()
                raise error_of(response)
            check_stream(response)
        except httpx.RequestError as exc:
            raise unreachable(exc) from exc
        except BaseException:
            await _close(response)
            raise

    async def _receive(self, chunks: AsyncIterator[bytes]) -> None:
        error: ClientError | None = None
        try:
            self._following.feed(await anext(chunks))
            return
        except StopAsyncIteration:
            pass
        except httpx.RequestError as exc:
            error = unreachable(exc)
        except BaseException:
            await self._disconnect()
            raise
        await self._disconnect()
        await self._pause(error, self._following.ended(anyio.current_time()))

    async def _pause(self, error: ClientError | None, delay: float) -> None:
        if self._on_retry is not None:
            self._on_retry(error, delay)
        await anyio.sleep(delay)

    async def _disconnect(self) -> None:
        response, chunks = self._response, self._chunks
        self._response = self._chunks = None
        self._client.closed(self)
        if response is None or chunks is None:
            return
        # Cancellation ends all generators of the HTTP client. If one is collected before its end, Trio warns.
        with anyio.CancelScope() as scope, suppress(StopAsyncIteration, httpx.StreamError, httpx.RequestError):
            scope.cancel()
            while True:
                await anext(chunks)
        await _close(response)


async def _close(response: httpx.Response) -> None:
    with anyio.CancelScope(shield=True):
        await response.aclose()
