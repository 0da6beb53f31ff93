"""`SyncClient`, for sync code."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, Self, TypeVar

import httpx

from starlette_webhooks.certificates import trusted_authorities
from starlette_webhooks.client import calls
from starlette_webhooks.client.answers import may_repeat, read_answer, unreachable
from starlette_webhooks.client.backoff import Backoff
from starlette_webhooks.client.calls import AttemptFilter, Call, EventFilter
from starlette_webhooks.client.credentials import Credentials, Key, base_url
from starlette_webhooks.client.errors import ClientError
from starlette_webhooks.client.following import Following, OnRetry
from starlette_webhooks.client.objects import Attempt, Endpoint, Event, EventType, Page
from starlette_webhooks.client.sync_stream import SyncEventStream

__all__ = ["SyncClient"]

T = TypeVar("T")


class SyncClient:
    """A client of the HTTP API, for sync code. The arguments, methods and errors are those of `Client`.

    Args:
        url: The URL of the API, such as `https://example.com/api/v1/webhooks`.
        key: The API key, or a function that returns the current one.
        timeout: Seconds for each step of a call: to connect, to send, and to receive.
        stream_timeout: Seconds without a byte after which a stream reconnects.
        retries: How often a call is made again if the server cannot be reached, or answers 429 or 503.
        max_delay: The maximum of seconds between two attempts, unless the server asks for more.
        http: The HTTP client to use, for example with a proxy. The caller closes it.
    """

    def __init__(
        self,
        url: str,
        key: Key = None,
        *,
        timeout: float = 10.0,
        stream_timeout: float = 30.0,
        retries: int = 3,
        max_delay: float = 30.0,
        http: httpx.Client | None = None,
    ) -> None:
        self._url = base_url(url)
        self._credentials = Credentials(key)
        self._timeout = httpx.Timeout(timeout)
        self._stream_timeout = httpx.Timeout(timeout, read=stream_timeout)
        self._retries = retries
        self._max_delay = max_delay
        self._http = http or httpx.Client(verify=trusted_authorities())
        self._owns_http = http is None
        self._streams: set[SyncEventStream] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all streams and connections."""
        for stream in list(self._streams):
            stream.close()
        if self._owns_http:
            self._http.close()

    # Events

    def stream(
        self,
        *,
        after: str | None = None,
        since: datetime | None = None,
        event_types: Sequence[str] = (),
        channel: str | None = None,
        on_retry: OnRetry | None = None,
    ) -> SyncEventStream:
        """Return a stream of events. See `Client.stream`."""
        following = Following(
            after=after,
            since=since,
            event_types=event_types,
            channel=channel,
            backoff=Backoff(longest=self._max_delay),
        )
        return SyncEventStream(self, following, on_retry)

    def list(
        self,
        *,
        event_types: Sequence[str] = (),
        channel: str | None = None,
        after: datetime | None = None,
        before: datetime | None = None,
    ) -> Iterator[Event]:
        """Iterate over all stored events, newest first. See `Client.list`."""
        filter = EventFilter(event_types=event_types, channel=channel, after=after, before=before)
        return self._pages(calls.list_events(filter))

    def get(self, event: str) -> Event:
        """Return one event by its id."""
        return self.send(calls.get_event(event))

    def test(
        self, event_type: str = "test.ping", data: Mapping[str, Any] | None = None, *, endpoint: str | None = None
    ) -> Event:
        """Emit a test event and return it. See `Client.test`."""
        return self.send(calls.send_test(event_type, data, endpoint))

    def resend(self, event: str, endpoint: str) -> None:
        """Deliver an event to an endpoint again."""
        self.send(calls.resend(event, endpoint))

    def event_types(self) -> Sequence[EventType]:
        """Return the catalog of event types."""
        return self.send(calls.list_event_types())

    # Endpoints

    def endpoints(self) -> Iterator[Endpoint]:
        """Iterate over all endpoints, newest first."""
        return self._pages(calls.list_endpoints())

    def get_endpoint(self, endpoint: str) -> Endpoint:
        """Return one endpoint by its id."""
        return self.send(calls.get_endpoint(endpoint))

    def create_endpoint(self, url: str, **fields: Any) -> Endpoint:
        """Create an endpoint. The fields are those of `POST /endpoints`, such as `event_types=[...]`."""
        return self.send(calls.create_endpoint(url, fields))

    def update_endpoint(self, endpoint: str, **fields: Any) -> Endpoint:
        """Change the given fields of an endpoint, such as `disabled=False`."""
        return self.send(calls.update_endpoint(endpoint, fields))

    def delete_endpoint(self, endpoint: str) -> None:
        """Delete an endpoint."""
        self.send(calls.delete_endpoint(endpoint))

    def secret(self, endpoint: str) -> str:
        """Return the secret that signs deliveries to an endpoint."""
        return self.send(calls.get_secret(endpoint))

    def rotate_secret(self, endpoint: str, key: str | None = None) -> str:
        """Replace the secret of an endpoint, by default with a random one, and return the new one."""
        return self.send(calls.rotate_secret(endpoint, key))

    def attempts(
        self,
        *,
        event: str | None = None,
        endpoint: str | None = None,
        status: Literal["success", "fail"] | None = None,
        event_types: Sequence[str] = (),
        after: datetime | None = None,
        before: datetime | None = None,
    ) -> Iterator[Attempt]:
        """Iterate over all attempts to deliver one event, or to deliver to one endpoint. See `Client.attempts`."""
        filter = AttemptFilter(
            event=event, endpoint=endpoint, status=status, event_types=event_types, after=after, before=before
        )
        return self._pages(calls.list_attempts(filter))

    def recover(self, endpoint: str, since: datetime, until: datetime | None = None, *, missing: bool = False) -> int:
        """Deliver again what failed since a time, and return the number of deliveries. See `Client.recover`."""
        return self.send(calls.recover(endpoint, since, until, missing))

    # Requests

    def _pages(self, call: Call[Page[T]]) -> Iterator[T]:
        while True:
            page = self.send(call)
            yield from page.items
            if page.next_cursor is None:
                return
            call = call.at(page.next_cursor)

    def send(self, call: Call[T], *, retries: int | None = None) -> T:
        """Make a call, and return its result. For the methods above.

        Raises:
            APIError: The server refused it.
            ConnectionFailed: The server cannot be reached.
        """
        left = self._retries if retries is None else retries
        backoff = Backoff(first=0.5, longest=self._max_delay)
        while True:
            try:
                response = self._exchange(self._request(call), stream=False)
                return read_answer(call, response)
            except ClientError as exc:
                if left <= 0 or not may_repeat(call, exc):
                    raise
                left -= 1
                time.sleep(backoff.next(getattr(exc, "retry_after", 0.0)))

    def open(self, call: Call[None], headers: Mapping[str, str]) -> httpx.Response:
        """Make a call whose answer is a stream. For `SyncEventStream`.

        Raises:
            ConnectionFailed: The server cannot be reached.
        """
        request = self._request(call, timeout=self._stream_timeout)
        request.headers.update(headers)
        return self._exchange(request, stream=True)

    def _request(self, call: Call[Any], *, timeout: httpx.Timeout | None = None) -> httpx.Request:
        return self._http.build_request(
            call.method,
            self._url + call.path,
            params=call.params or None,
            json=call.json,
            timeout=timeout or self._timeout,
        )

    def _exchange(self, request: httpx.Request, *, stream: bool) -> httpx.Response:
        credentials = self._credentials
        self._fetch_key()
        key = credentials.key
        response = self._send_with_key(request, stream=stream)
        if response.status_code == 401 and credentials.refused(key):
            response.close()
            self._fetch_key()
            response = self._send_with_key(request, stream=stream)
        return response

    def _send_with_key(self, request: httpx.Request, *, stream: bool) -> httpx.Response:
        request.headers.update(self._credentials.headers())
        try:
            return self._http.send(request, stream=stream)
        except httpx.RequestError as exc:
            raise unreachable(exc) from exc

    def _fetch_key(self) -> None:
        credentials = self._credentials
        if credentials.must_fetch:
            assert credentials.fetch is not None
            key = credentials.fetch()
            if not isinstance(key, str):
                raise TypeError("The function of the key must return a string. Use `Client` for an async one.")
            credentials.key = key

    def opened(self, stream: SyncEventStream) -> None:
        """Note that a stream has a connection, to close it at the end."""
        self._streams.add(stream)

    def closed(self, stream: SyncEventStream) -> None:
        """Note that a stream has no connection any more."""
        self._streams.discard(stream)
