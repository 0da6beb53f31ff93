"""The data of the fake Svix server, and the semantics of its lists."""

from __future__ import annotations

import random
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

EPOCH = 1_400_000_000
ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
DAYS_90 = 90 * 86_400.0
MAX_LIMIT = 250


class DropConnection(Exception):
    """The handler panics: the connection is closed without an answer."""


class Refusal(Exception):
    """An error that Svix answers."""

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(status)
        self.status = status
        self.body = body


def refusal(status: int, code: str, detail: str = "") -> Refusal:
    """An error in Svix's usual shape."""
    return Refusal(status, {"code": code, "detail": detail})


def invalid(location: str, message: str, kind: str = "value_error") -> Refusal:
    """A 422 in Svix's shape."""
    return Refusal(422, {"detail": [{"loc": ["body", location], "msg": message, "type": kind}]})


def base62(number: int) -> str:
    """Return the 27 characters of a KSUID."""
    characters = []
    for _ in range(27):
        number, rest = divmod(number, 62)
        characters.append(ALPHABET[rest])
    return "".join(reversed(characters))


def tick(seconds: float) -> int:
    """The first five bytes of a KSUID with milliseconds, as a number."""
    milliseconds = max(int(seconds * 1000), EPOCH * 1000)
    whole, rest = divmod(milliseconds, 1000)
    return (whole - EPOCH) << 8 | rest >> 2


def ksuid(prefix: str, seconds: float, payload: int | None = None) -> str:
    """Return an id of that time, which is random within its tick of 4 ms, as on the server."""
    payload = random.getrandbits(120) if payload is None else payload
    return prefix + base62(tick(seconds) << 120 | payload)


def start_id(seconds: float) -> str:
    """Return the lowest message id of that time."""
    return ksuid("msg_", seconds, 0)


def seconds_of(identifier: str) -> float:
    """When an id was minted."""
    number = 0
    for character in identifier[-27:]:
        number = number * 62 + ALPHABET.index(character)
    number >>= 120
    return (number >> 8) + EPOCH + ((number & 0xFF) << 2) / 1000


def rfc3339(seconds: float) -> str:
    """A timestamp as Svix writes it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def sorted_keys(value: Any) -> Any:
    """Return JSON as the server reads it back: with the keys of all objects sorted."""
    if isinstance(value, dict):
        return {key: sorted_keys(value[key]) for key in sorted(value)}
    return [sorted_keys(item) for item in value] if isinstance(value, list) else value


@dataclass(order=True)
class Message:
    """A message. It is visible from `visible_at` on, when its transaction is committed."""

    id: str
    event_type: str = field(compare=False)
    payload: Any = field(compare=False)
    event_id: str | None = field(default=None, compare=False)
    channels: list[str] | None = field(default=None, compare=False)
    visible_at: float = field(default=0.0, compare=False)

    def out(self, *, content: bool) -> dict[str, Any]:
        """As the API shows it."""
        return {
            "id": self.id,
            "eventId": self.event_id,
            "eventType": self.event_type,
            "payload": sorted_keys(self.payload) if content else {},
            "channels": self.channels,
            "timestamp": rfc3339(seconds_of(self.id)),
        }


@dataclass
class Application:
    """An application with its messages, endpoints and attempts."""

    id: str
    uid: str | None
    name: str
    created_at: float
    messages: list[Message] = field(default_factory=list)
    arrived: list[Message] = field(default_factory=list)
    by_event_id: dict[str, Message] = field(default_factory=dict)
    endpoints: dict[str, dict[str, Any]] = field(default_factory=dict)
    secrets: dict[str, list[str]] = field(default_factory=dict)
    headers: dict[str, dict[str, str]] = field(default_factory=dict)
    attempts: list[dict[str, Any]] = field(default_factory=list)

    def add(self, message: Message) -> None:
        """Store a message."""
        insort(self.messages, message)
        self.arrived.append(message)
        if message.event_id is not None:
            self.by_event_id[message.event_id] = message

    def get(self, identifier: str) -> Message | None:
        """A message by id or by event id."""
        if identifier in self.by_event_id:
            return self.by_event_id[identifier]
        return next((message for message in self.messages if message.id == identifier), None)

    def wanted_by(self, message: Message) -> list[str]:
        """The ids of the endpoints to which Svix delivers the message."""
        return [
            endpoint["id"]
            for endpoint in self.endpoints.values()
            if not endpoint["disabled"]
            and (not endpoint["eventTypes"] or message.event_type in endpoint["eventTypes"])
            and (not endpoint["channels"] or set(endpoint["channels"]) & set(message.channels or ()))
        ]

    def attempt(self, message: Message, endpoint_id: str, *, manual: bool, now: float) -> None:
        """Deliver; endpoints with `fail` in their URL fail."""
        url = self.endpoints[endpoint_id]["url"]
        failed = "fail" in url
        self.attempts.append(
            {
                "id": ksuid("atmpt_", now),
                "msgId": message.id,
                "endpointId": endpoint_id,
                "url": url,
                "response": "oops" if failed else "fine",
                "responseStatusCode": 500 if failed else 200,
                "responseDurationMs": 12,
                "status": 3 if failed else 0,
                "statusText": "sending" if failed else "success",
                "triggerType": 1 if manual else 0,
                "timestamp": rfc3339(now),
            }
        )


def page_of(items: list[Any], limit: int, iterator: str | None, key: Callable[[Any], str]) -> dict[str, Any]:
    """A page of items that are sorted newest first, older than the iterator."""
    rest = [item for item in items if iterator is None or key(item) < iterator]
    page = rest[:limit]
    return {"data": page, "iterator": key(page[-1]) if page else None, "done": len(rest) <= limit}


def check_iterator(iterator: str | None) -> str | None:
    """Panic if the iterator has the prefix but is not a KSUID. Refuse one without the prefix."""
    if iterator is None:
        return None
    plain = iterator.removeprefix("-")
    if not plain.startswith("msg_"):
        raise invalid("iterator", "Invalid iterator")
    body = plain[4:]
    if len(body) != 27 or any(character not in ALPHABET for character in body) or body > base62((1 << 160) - 1):
        raise DropConnection
    return iterator


def list_messages(
    application: Application,
    *,
    now: float,
    limit: int = 50,
    iterator: str | None = None,
    before: float | None = None,
    after: float | None = None,
    channel: str | None = None,
    event_types: list[str] | None = None,
) -> tuple[list[Message], str | None, str | None, bool]:
    """The page (newest first), `iterator`, `prevIterator`, `done`."""
    check_iterator(iterator)
    upwards = (iterator or "").startswith("-") or (after is not None and before is None and iterator is None)
    low, high = _bounds(now, iterator, before, after)
    messages = application.messages
    first = bisect_right(messages, Message(low, "", None))
    last = bisect_left(messages, Message(high, "", None))
    found: list[Message] = []
    for index in range(first, last) if upwards else range(last - 1, first - 1, -1):
        message = messages[index]
        if message.visible_at > now:
            continue
        if event_types and message.event_type not in event_types:
            continue
        if channel and channel not in (message.channels or ()):
            continue
        found.append(message)
        if len(found) > limit:
            break
    done = len(found) <= limit
    page = found[:limit]
    if upwards:
        page.reverse()
    return page, page[-1].id if page else None, f"-{page[0].id}" if page else None, done


def _bounds(now: float, iterator: str | None, before: float | None, after: float | None) -> tuple[str, str]:
    lows = [] if after is None else [start_id(after)]
    highs = [start_id(now + 3600)] + ([] if before is None else [start_id(before)])
    if iterator is not None and iterator.startswith("-"):
        lows.append(iterator[1:])
        if before is None:
            highs.append(start_id(seconds_of(iterator) + DAYS_90))
    elif iterator is not None:
        highs.append(iterator)
        if after is None:
            lows.append(start_id(seconds_of(iterator) - DAYS_90))
    elif after is not None and before is None:
        highs.append(start_id(after + DAYS_90))
    elif after is None:
        lows.append(start_id((now if before is None else before) - DAYS_90))
    return max(lows), min(highs)
