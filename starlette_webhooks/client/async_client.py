"""`Client`, for async code on asyncio and trio."""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Generic, Literal, Self, TypeVar

import anyio
import httpx

from starlette_webhooks.certificates import trusted_authorities
from starlette_webhooks.client import calls
from starlette_webhooks.client.answers import may_repeat, read_answer, unreachable
from starlette_webhooks.client.async_stream import EventStream
from starlette_webhooks.client.backoff import Backoff
from starlette_webhooks.client.calls import AttemptFilter, Call, EventFilter
from starlette_webhooks.client.credentials import AsyncKey, Credentials, base_url
from starlette_webhooks.client.errors import ClientError
from starlette_webhooks.client.following import Following, OnRetry
from starlette_webhooks.client.objects import Attempt, Endpoint, Event, EventType, Page

__all__ = ["Client", "Pages"]

T = TypeVar("T")


class Client:
    """A client of the HTTP API, for async code. Enter it with `async with`. `SyncClient` is the same for sync code.

    Every method raises `APIError` if the server refuses the call, and `ConnectionFailed` if it cannot be reached.

    Args:
        url: The URL of the API, such as `https://example.com/api/v1/webhooks`.
        key: The API key, or a function, sync or async, that returns the current one. The function is called before the
            first call, and again after the server has answered 401. None sends no key.
        timeout: Seconds for each step of a call: to connect, to send, and to receive.
        stream_timeout: Seconds without a byte after which a stream reconnects. Must be more than the heartbeat of the
            server, which is 2 seconds by default.
        retries: How often a call is made again if the server cannot be reached, or answers 429 or 503. Calls that
            change something are made again after 429 only. Streams reconnect forever.
        max_delay: The maximum of seconds between two attempts, unless the server asks for more.
        http: The HTTP client to use, for example with a proxy. The caller closes it.

    Raises:
        ValueError: `url` is not an HTTP URL.
    """

    def __init__(
        self,
        url: str,
        key: AsyncKey = None,
        *,
        timeout: float = 10.0,
        stream_timeout: float = 30.0,
        retries: int = 3,
        max_delay: float = 30.0,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        self._url = base_url(url)
        self._credentials = Credentials(key)
        self._timeout = httpx.Timeout(timeout)
        self._stream_timeout = httpx.Timeout(timeout, read=stream_timeout)
        self._retries = retries
        self._max_delay = max_delay
        self._http = http or httpx.AsyncClient(verify=trusted_authorities())
        self._owns_http = http is None
        self._streams: set[EventStream] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *details: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all streams and connections."""
        for stream in list(self._streams):
            await stream.aclose()
        if self._owns_http:
            await self._http.aclose()

    # Events

    def stream(
        self,
        *,
        after: str | None = None,
        since: datetime | None = None,
        event_types: Sequence[str] = (),
        channel: str | None = None,
        on_retry: OnRetry | None = None,
    ) -> EventStream:
        """Return a stream of events, each of which it yields once. It reconnects and resumes forever.

        Args:
            after: The id of an event after which to start. None starts now.
            since: Start with the stored events from this time on.
            event_types: Only these event types. Empty means all.
            channel: Only events with this channel.
            on_retry: Is called before each new attempt to connect: with the error, or None if the stream has ended
                normally, and the seconds until the attempt.

        Iterating raises `Gap` if events are missing, and `APIError` if the server refuses the stream permanently.
        """
        following = Following(
            after=after,
            since=since,
            event_types=event_types,
            channel=channel,
            backoff=Backoff(longest=self._max_delay),
        )
        return EventStream(self, following, on_retry)

    def list(
        self,
        *,
        event_types: Sequence[str] = (),
        channel: str | None = None,
        after: datetime | None = None,
        before: datetime | None = None,
    ) -> Pages[Event]:
        """Iterate over all stored events, newest first. Reads pages as necessary.

        Args:
            event_types: Only these event types. Empty means all.
            channel: Only events with this channel.
            after: Only events from this time on, with a time zone.
            before: Only events before this time.
        """
        filter = EventFilter(event_types=event_types, channel=channel, after=after, before=before)
        return Pages(self, calls.list_events(filter))

    async def get(self, event: str) -> Event:
        """Return one event by its id. Raises `NotFound` if there is none."""
        return await self.send(calls.get_event(event))

    async def test(
        self, event_type: str = "test.ping", data: Mapping[str, Any] | None = None, *, endpoint: str | None = None
    ) -> Event:
        """Emit a test event and return it. It is delivered to all endpoints that match, or to one of them.

        Args:
            event_type: The name of its event type.
            data: Its data. By default, the example of its event type.
            endpoint: The id of the only endpoint to deliver it to.
        """
        return await self.send(calls.send_test(event_type, data, endpoint))

    async def resend(self, event: str, endpoint: str) -> None:
        """Deliver an event to an endpoint again, ignoring its filters."""
        await self.send(calls.resend(event, endpoint))

    async def event_types(self) -> Sequence[EventType]:
        """Return the catalog of event types."""
        return await self.send(calls.list_event_types())

    # Endpoints

    def endpoints(self) -> Pages[Endpoint]:
        """Iterate over all endpoints, newest first."""
        return Pages(self, calls.list_endpoints())

    async def get_endpoint(self, endpoint: str) -> Endpoint:
        """Return one endpoint by its id. Raises `NotFound` if there is none."""
        return await self.send(calls.get_endpoint(endpoint))

    async def create_endpoint(self, url: str, **fields: Any) -> Endpoint:
        """Create an endpoint. The fields are those of `POST /endpoints`, such as `event_types=[...]`."""
        return await self.send(calls.create_endpoint(url, fields))

    async def update_endpoint(self, endpoint: str, **fields: Any) -> Endpoint:
        """Change the given fields of an endpoint, such as `disabled=False`."""
        return await self.send(calls.update_endpoint(endpoint, fields))

    async def delete_endpoint(self, endpoint: str) -> None:
        """Delete an endpoint and its pending deliveries."""
        await self.send(calls.delete_endpoint(endpoint))

    async def secret(self, endpoint: str) -> str:
        """Return the secret that signs deliveries to an endpoint."""
        return await self.send(calls.get_secret(endpoint))

    async def rotate_secret(self, endpoint: str, key: str | None = None) -> str:
        """Replace the secret of an endpoint, by default with a random one, and return the new one.

        The old secret stays valid for 24 hours.
        """
        return await self.send(calls.rotate_secret(endpoint, key))

    def attempts(
        self,
        *,
        event: str | None = None,
        endpoint: str | None = None,
        status: Literal["success", "fail"] | None = None,
        event_types: Sequence[str] = (),
        after: datetime | None = None,
        before: datetime | None = None,
    ) -> Pages[Attempt]:
        """Iterate over all attempts to deliver one event, or to deliver to one endpoint, newest first.

        Args:
            event: The id of an event. Pass either this or `endpoint`.
            endpoint: The id of an endpoint.
            status: `success` or `fail`. Both by default.
            event_types: Only attempts of these event types. Empty means all.
            after: Only attempts from this time on, with a time zone.
            before: Only attempts before this time.
        """
        filter = AttemptFilter(
            event=event, endpoint=endpoint, status=status, event_types=event_types, after=after, before=before
        )
        return Pages(self, calls.list_attempts(filter))

    async def recover(
        self, endpoint: str, since: datetime, until: datetime | None = None, *, missing: bool = False
    ) -> int:
        """Deliver again what failed since a time, and return the number of deliveries.

        Args:
            since: The start, with a time zone.
            until: The end. By default, now.
            missing: Also deliver what was never attempted, such as events from before the endpoint was created.
        """
        return await self.send(calls.recover(endpoint, since, until, missing))

    # Requests

    async def send(self, call: Call[T], *, retries: int | None = None) -> T:
        """Make a call, and return its result. For the methods above.

        Raises:
            APIError: The server refused it.
            ConnectionFailed: The server cannot be reached.
        """
        left = self._retries if retries is None else retries
        backoff = Backoff(first=0.5, longest=self._max_delay)
        while True:
            try:
                response = await self._exchange(self._request(call), stream=False)
                return read_answer(call, response)
            except ClientError as exc:
                if left <= 0 or not may_repeat(call, exc):
                    raise
                left -= 1
                await anyio.sleep(backoff.next(getattr(exc, "retry_after", 0.0)))

    async def open(self, call: Call[None], headers: Mapping[str, str]) -> httpx.Response:
        """Make a call whose answer is a stream. For `EventStream`.

        Raises:
            ConnectionFailed: The server cannot be reached.
        """
        request = self._request(call, timeout=self._stream_timeout)
        request.headers.update(headers)
        return await self._exchange(request, stream=True)

    def _request(self, call: Call[Any], *, timeout: httpx.Timeout | None = None) -> httpx.Request:
        return self._http.build_request(
            call.method,
            self._url + call.path,
            params=call.params or None,
            json=call.json,
            timeout=timeout or self._timeout,
        )

    async def _exchange(self, request: httpx.Request, *, stream: bool) -> httpx.Response:
        credentials = self._credentials
        await self._fetch_key()
        key = credentials.key
        response = await self._send_with_key(request, stream=stream)
        if response.status_code == 401 and credentials.refused(key):
            await response.aclose()
            await self._fetch_key()
            response = await self._send_with_key(request, stream=stream)
        return response

    async def _send_with_key(self, request: httpx.Request, *, stream: bool) -> httpx.Response:
        request.headers.update(self._credentials.headers())
        try:
            return await self._http.send(request, stream=stream)
        except httpx.RequestError as exc:
            raise unreachable(exc) from exc

    async def _fetch_key(self) -> None:
        credentials = self._credentials
        if credentials.must_fetch:
            assert credentials.fetch is not None
            key = credentials.fetch()
            credentials.key = await key if inspect.isawaitable(key) else key

    def opened(self, stream: EventStream) -> None:
        """Note that a stream has a connection, to close it at the end."""
        self._streams.add(stream)

    def closed(self, stream: EventStream) -> None:
        """Note that a stream has no connection any more."""
        self._streams.discard(stream)


class Pages(AsyncIterator[T], Generic[T]):
    """All items of a list, read a page at a time."""

    def __init__(self, client: Client, call: Call[Page[T]]) -> None:
        self._client = client
        self._call = call
        self._items: deque[T] = deque()
        self._done = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        while not self._items:
            if self._done:
                raise StopAsyncIteration
            page = await self._client.send(self._call)
            self._items.extend(page.items)
            self._call = self._call.at(page.next_cursor)
            self._done = page.next_cursor is None
        return self._items.popleft()
