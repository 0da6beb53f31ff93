"""The calls of the API: how each is requested, and what its answer means. Without input or output."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import quote

from starlette_webhooks.client.objects import Attempt, Endpoint, Event, EventType, Page

__all__ = ["AttemptFilter", "Call", "EventFilter"]

T = TypeVar("T")
_PAGE = 250


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """A request, and the function that reads its answer.

    Attributes:
        parse: Returns the result from the decoded JSON of the answer.
    """

    method: str
    path: str
    parse: Callable[[Any], T]
    params: Mapping[str, str | int] = field(default_factory=dict)
    json: Mapping[str, Any] | None = None

    def at(self, cursor: str | None) -> Call[T]:
        """Return the call for another page."""
        return self if cursor is None else replace(self, params={**self.params, "cursor": cursor})


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter:
    """Which events to list. See `GET /events`."""

    event_types: Sequence[str] = ()
    channel: str | None = None
    after: datetime | None = None
    before: datetime | None = None

    def params(self) -> dict[str, str | int]:
        """Return the parameters of the query."""
        if isinstance(self.event_types, str):
            raise TypeError(f"`event_types` must be a list of names. Use `[{self.event_types!r}]`.")
        return _given(
            event_type=",".join(self.event_types) or None,
            channel=self.channel,
            after=_time("after", self.after),
            before=_time("before", self.before),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptFilter:
    """Which attempts to list: to deliver one event, or to deliver to one endpoint."""

    event: str | None = None
    endpoint: str | None = None
    status: Literal["success", "fail"] | None = None
    event_types: Sequence[str] = ()
    after: datetime | None = None
    before: datetime | None = None

    def path(self) -> str:
        """Return the path of the list."""
        if (self.event is None) == (self.endpoint is None):
            raise TypeError("Pass either `event` or `endpoint`.")
        kind, identifier = ("events", self.event) if self.endpoint is None else ("endpoints", self.endpoint)
        return f"/{kind}/{_part(str(identifier))}/attempts"

    def params(self) -> dict[str, str | int]:
        """Return the parameters of the query."""
        common = EventFilter(event_types=self.event_types, after=self.after, before=self.before).params()
        return {**common, **_given(status=self.status)}


def stream_position() -> Call[str]:
    """What a stream resumes after that starts now."""
    return Call("GET", "/events/stream/position", lambda value: str(value["lastEventId"]))


def open_stream(params: Mapping[str, str | int]) -> Call[None]:
    """The stream of events."""
    return Call("GET", "/events/stream", _nothing, params)


def list_events(filter: EventFilter) -> Call[Page[Event]]:
    """A page of events, newest first."""
    return Call("GET", "/events", _page("events", Event.of), {"limit": _PAGE, **filter.params()})


def get_event(event: str) -> Call[Event]:
    """One event."""
    return Call("GET", f"/events/{_part(event)}", Event.of)


def resend(event: str, endpoint: str) -> Call[None]:
    """Deliver an event to an endpoint again."""
    return Call("POST", f"/events/{_part(event)}/endpoints/{_part(endpoint)}/resend", _nothing, json={})


def send_test(event_type: str, data: Mapping[str, Any] | None, endpoint: str | None) -> Call[Event]:
    """Emit a test event, for all endpoints or for one."""
    path = "/test" if endpoint is None else f"/endpoints/{_part(endpoint)}/test"
    return Call("POST", path, Event.of, json=_given(eventType=event_type, data=data))


def list_event_types() -> Call[list[EventType]]:
    """The catalog."""
    return Call("GET", "/event-types", lambda value: [EventType.of(each) for each in value["eventTypes"]])


def list_endpoints() -> Call[Page[Endpoint]]:
    """A page of endpoints, newest first."""
    return Call("GET", "/endpoints", _page("endpoints", Endpoint.of), {"limit": _PAGE})


def get_endpoint(endpoint: str) -> Call[Endpoint]:
    """One endpoint."""
    return Call("GET", f"/endpoints/{_part(endpoint)}", Endpoint.of)


def create_endpoint(url: str, fields: Mapping[str, Any]) -> Call[Endpoint]:
    """A new endpoint."""
    return Call("POST", "/endpoints", Endpoint.of, json={"url": url, **_camel(fields)})


def update_endpoint(endpoint: str, fields: Mapping[str, Any]) -> Call[Endpoint]:
    """A change to an endpoint."""
    return Call("PATCH", f"/endpoints/{_part(endpoint)}", Endpoint.of, json=_camel(fields))


def delete_endpoint(endpoint: str) -> Call[None]:
    """Delete an endpoint."""
    return Call("DELETE", f"/endpoints/{_part(endpoint)}", _nothing)


def get_secret(endpoint: str) -> Call[str]:
    """The secret of an endpoint."""
    return Call("GET", f"/endpoints/{_part(endpoint)}/secret", _key)


def rotate_secret(endpoint: str, key: str | None) -> Call[str]:
    """A new secret for an endpoint."""
    return Call("POST", f"/endpoints/{_part(endpoint)}/secret/rotate", _key, json=_given(key=key))


def list_attempts(filter: AttemptFilter) -> Call[Page[Attempt]]:
    """A page of attempts, newest first."""
    return Call("GET", filter.path(), _page("attempts", Attempt.of), {"limit": _PAGE, **filter.params()})


def recover(endpoint: str, since: datetime, until: datetime | None, missing: bool) -> Call[int]:
    """Deliver again what failed."""
    body = _given(since=_time("since", since), until=_time("until", until), missing=missing)
    return Call("POST", f"/endpoints/{_part(endpoint)}/recover", lambda value: int(value["recovered"]), json=body)


def _part(identifier: str) -> str:
    return quote(identifier, safe="")


def _page(name: str, of: Callable[[Any], T]) -> Callable[[Any], Page[T]]:
    def parse(value: Any) -> Page[T]:
        return Page([of(each) for each in value[name]], None if value["done"] else value["nextCursor"])

    return parse


def _nothing(value: Any) -> None:
    return None


def _key(value: Any) -> str:
    return str(value["key"])


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _camel(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {_camel_name(name): _plain(value) for name, value in fields.items()}


def _camel_name(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(map(str.title, rest))


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, Iterable) and not isinstance(value, (str, Mapping)) else value


def _time(name: str, moment: datetime | None) -> str | None:
    if moment is None:
        return None
    if moment.tzinfo is None:
        raise ValueError(f"`{name}` has no time zone. Pass an aware datetime, such as `datetime.now(UTC)`.")
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
