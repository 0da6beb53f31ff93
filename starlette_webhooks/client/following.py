"""The state of a stream across its connections: what to resume after, and what to yield. Without input or output."""

from __future__ import annotations

import json
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TypeAlias

from starlette_webhooks.client.answers import is_temporary
from starlette_webhooks.client.backoff import Backoff
from starlette_webhooks.client.calls import EventFilter
from starlette_webhooks.client.errors import APIError, ClientError, ConnectionFailed, Gap
from starlette_webhooks.client.objects import Event
from starlette_webhooks.client.sse import Message, SSEParser, TooLarge
from starlette_webhooks.identifiers import first_id

__all__ = ["Following", "OnRetry"]

OnRetry: TypeAlias = Callable[[ClientError | None, float], None]
"""Is called before each new attempt of a stream to connect."""

_PREFIX = "msg_"
# One second after the first time that an id can have. An id of zeros would be no time.
_EARLIEST_MS = 1_400_000_001_000
# Seconds after which a connection has worked, even without an event. Some proxies cut streams every few seconds.
_WORKED = 2.0
# Svix may show an event again. That happens within seconds.
_REMEMBERED = 4096


class Following:
    """The position of a stream, and the messages of the current connection that have not been yielded.

    Args:
        after: Start after this event. See `Client.stream`.
        since: Start with the events from this time on.

    Attributes:
        last_event_id: The id after which to resume, given what has been yielded. None before the stream has started.
    """

    def __init__(
        self,
        *,
        after: str | None,
        since: datetime | None,
        event_types: Sequence[str],
        channel: str | None,
        backoff: Backoff,
    ) -> None:
        if after and since is not None:
            raise TypeError("Pass either `after` or `since`.")
        # Checked here, so that a wrong argument raises where it is written.
        self._params = EventFilter(event_types=event_types, channel=channel, after=since).params()
        self._params.pop("after", None)
        self.last_event_id = after or None
        if since is not None:
            # No event has this id, so the server sends all newer ones, and before them a gap if it has removed some.
            self.last_event_id = first_id(_PREFIX, max(int(since.timestamp() * 1000), _EARLIEST_MS))
        self._backoff = backoff
        self._parser = SSEParser()
        self._waiting: deque[Message] = deque()
        self._seen: OrderedDict[str, None] = OrderedDict()
        if after:
            self._remember(after)
        self._retry = 0.0
        self._connected_at = 0.0

    @property
    def must_start(self) -> bool:
        """Whether `start` must be called before the first connection."""
        return self.last_event_id is None

    def start(self, position: str) -> None:
        """Start at the current position of the server, so that nothing is missed if the first connection fails."""
        self.last_event_id = position

    def params(self) -> dict[str, str | int]:
        """Return the parameters of the next connection."""
        return self._params

    def headers(self) -> dict[str, str]:
        """Return the headers of the next connection."""
        assert self.last_event_id is not None
        # Compressed frames would be delivered late.
        return {"Accept": "text/event-stream", "Accept-Encoding": "identity", "Last-Event-ID": self.last_event_id}

    def connected(self, now: float) -> None:
        """Note that a connection is open."""
        self._parser = SSEParser(self.last_event_id or "")
        self._connected_at = now

    def feed(self, chunk: bytes) -> None:
        """Add bytes of the connection.

        Raises:
            ClientError: A message is too large.
        """
        try:
            self._waiting.extend(self._parser.feed(chunk))
        except TooLarge as exc:
            raise ClientError(str(exc)) from None

    def take(self) -> Event | None:
        """Return the next event, or None if there is none yet.

        Raises:
            Gap: Events are missing.
        """
        while self._waiting:
            message = self._waiting.popleft()
            self._backoff.reset()
            event = self._read(message)
            self.last_event_id = message.last_event_id or self.last_event_id
            if event is not None and self._remember(event.id):
                return event
        return None

    def _read(self, message: Message) -> Event | None:
        if message.data is None or message.event not in ("message", "gap"):
            return None
        try:
            value = json.loads(message.data)
            if message.event == "message":
                return Event.of(value)
            requested, oldest = value["requested"], value["oldest"]
        except (ValueError, TypeError, KeyError) as exc:
            raise APIError("The stream did not come from the API. Check the URL of the client.") from exc
        raise Gap(
            f"Events after {requested} may be missing, because some are no longer stored.",
            requested=requested,
            oldest=oldest,
        )

    def _remember(self, identifier: str) -> bool:
        """Note that an event has been yielded. Returns False if it had been before."""
        if identifier in self._seen:
            return False
        self._seen[identifier] = None
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        return True

    def ended(self, now: float) -> float:
        """Note that the connection has ended. Returns the seconds until the next one."""
        if self._parser.retry is not None:
            self._retry = self._parser.retry / 1000
        if now - self._connected_at >= _WORKED:
            self._backoff.reset()
        return self._backoff.next(self._retry)

    def failed(self, error: ClientError) -> float:
        """Note that there is no connection. Returns the seconds until the next attempt, or raises the error."""
        if not is_temporary(error):
            raise error
        asked = error.retry_after if isinstance(error, APIError) else 0.0
        return self._backoff.next(max(asked, self._retry if isinstance(error, ConnectionFailed) else 0.0))
