"""`SyncEventStream`, for sync code."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Protocol, Self, TypeVar

import httpx

from starlette_webhooks.client.answers import check_stream, error_of, unreachable
from starlette_webhooks.client.calls import Call, open_stream, stream_position
from starlette_webhooks.client.errors import ClientError
from starlette_webhooks.client.following import Following, OnRetry
from starlette_webhooks.client.objects import Event

__all__ = ["SyncEventStream"]

T = TypeVar("T")


class Requests(Protocol):
    """What a stream needs of its client."""

    def send(self, call: Call[T], *, retries: int | None = None) -> T:
        """Make a call, and return its result."""

    def open(self, call: Call[None], headers: Mapping[str, str]) -> httpx.Response:
        """Make a call whose answer is a stream."""

    def opened(self, stream: SyncEventStream) -> None:
        """Note that a stream has a connection."""

    def closed(self, stream: SyncEventStream) -> None:
        """Note that a stream has no connection any more."""


class SyncEventStream(Iterator[Event]):
    """The events of a stream, which `SyncClient.stream` returns. See `EventStream`."""

    def __init__(self, client: Requests, following: Following, on_retry: OnRetry | None = None) -> None:
        self._client = client
        self._following = following
        self._on_retry = on_retry
        self._response: httpx.Response | None = None
        self._chunks: Iterator[bytes] | None = None
        self._closed = False

    @property
    def last_event_id(self) -> str | None:
        """What to pass as `after` to continue later. See `EventStream.last_event_id`."""
        return self._following.last_event_id

    def __enter__(self) -> Self:
        try:
            while self._chunks is None and not self._closed:
                self._connect()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        while True:
            if self._closed:
                raise StopIteration
            event = self._following.take()
            if event is not None:
                return event
            if self._chunks is None:
                self._connect()
            else:
                self._receive(self._chunks)

    def close(self) -> None:
        """Disconnect, and end the iteration."""
        self._closed = True
        self._disconnect()

    def _connect(self) -> None:
        """Try to connect once."""
        following = self._following
        try:
            if following.must_start:
                following.start(self._client.send(stream_position(), retries=0))
            response = self._client.open(open_stream(following.params()), following.headers())
            self._check(response)
        except ClientError as exc:
            self._pause(exc, following.failed(exc))
            return
        self._response = response
        self._chunks = response.iter_bytes()
        self._client.opened(self)
        following.connected(time.monotonic())

    def _check(self, response: httpx.Response) -> None:
        try:
            if not response.is_success:
                response.read()
                raise error_of(response)
            check_stream(response)
        except httpx.RequestError as exc:
            raise unreachable(exc) from exc
        except BaseException:
            response.close()
            raise

    def _receive(self, chunks: Iterator[bytes]) -> None:
        error: ClientError | None = None
        try:
            self._following.feed(next(chunks))
            return
        except StopIteration:
            pass
        except httpx.RequestError as exc:
            error = unreachable(exc)
        except BaseException:
            self._disconnect()
            raise
        self._disconnect()
        self._pause(error, self._following.ended(time.monotonic()))

    def _pause(self, error: ClientError | None, delay: float) -> None:
        if self._on_retry is not None:
            self._on_retry(error, delay)
        time.sleep(delay)

    def _disconnect(self) -> None:
        response = self._response
        self._response = self._chunks = None
        self._client.closed(self)
        if response is not None:
            response.close()
