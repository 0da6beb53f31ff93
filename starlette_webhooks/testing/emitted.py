"""`EmittedEvents`, the events that a test's apps emitted, with assertions that show what was emitted instead."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any, cast, overload

from starlette_webhooks.emitter import observers
from starlette_webhooks.encoding import encode_data, is_typed
from starlette_webhooks.events import Event
from starlette_webhooks.exceptions import UnknownEventType

if TYPE_CHECKING:
    from starlette_webhooks.event_types import EventTypes
    from starlette_webhooks.types import EventData, TenantId, TypedData

__all__ = ["EmittedEvents", "recording"]

_MISSING = object()
_IS_MISSING = "is missing"
_LINE = 160


class EmittedEvents(Sequence[Event]):
    """A sequence of `Event`s in the order in which they were emitted."""

    def __init__(self, events: Sequence[Event] = ()) -> None:
        self._events = list(events)
        self._catalogs: list[EventTypes] = []

    def __len__(self) -> int:
        return len(self._events)

    @overload
    def __getitem__(self, index: int) -> Event: ...

    @overload
    def __getitem__(self, index: slice) -> list[Event]: ...

    def __getitem__(self, index: int | slice) -> Event | list[Event]:
        return self._events[index]

    def __repr__(self) -> str:
        return f"<{_listing(self._events)}>"

    def record(self, events: Sequence[Event], event_types: EventTypes) -> None:
        """Record events that were just emitted, and their catalog."""
        self._events.extend(events)
        if event_types not in self._catalogs:
            self._catalogs.append(event_types)

    def clear(self) -> None:
        """Forget all recorded events."""
        self._events.clear()

    def assert_emitted(
        self,
        event_type: str | type | TypedData,
        *,
        tenant: TenantId | None = None,
        data: EventData | None = None,
        event_id: str | None = None,
        channels: Sequence[str] | None = None,
        times: int | None = None,
    ) -> Event:
        """Fail unless a matching event was emitted. Returns the first one.

        Args:
            event_type: The name of the event type, or the class that is its schema, or an instance of the class.
            tenant: The tenant. Any by default.
            data: What the data contains. Other keys are allowed, also in nested objects.
            event_id: The host's own key of the event.
            channels: All channels of the event.
            times: The exact number of events. At least one by default.

        Raises:
            AssertionError: There is no such event. The message shows the closest one and all emitted events.
            UnknownEventType: The class is not the schema of any event type.
        """
        __tracebackhide__ = True
        expected = self._expected(event_type, tenant, data, event_id, channels)
        found = [event for event in self._events if not expected.differences(event)]
        if times == 0:
            raise ValueError("`times` must be at least 1. Use `assert_not_emitted`.")
        if times is not None and len(found) != times:
            raise AssertionError(
                f"{expected} was emitted {_count(len(found))}, not {_count(times)}.\n{_listing(self._events)}"
            )
        if times is None and not found:
            raise AssertionError(f"{expected} was not emitted.\n{_nearest(expected, self._events)}")
        return found[0]

    def assert_not_emitted(
        self,
        event_type: str | type | TypedData,
        *,
        tenant: TenantId | None = None,
        data: EventData | None = None,
    ) -> None:
        """Fail if a matching event was emitted. Arguments as for `assert_emitted`."""
        __tracebackhide__ = True
        expected = self._expected(event_type, tenant, data)
        found = [event for event in self._events if not expected.differences(event)]
        if found:
            raise AssertionError(f"{expected} was emitted {_count(len(found))}.\n{_listing(found)}")

    def assert_nothing_emitted(self) -> None:
        """Fail if anything was emitted."""
        __tracebackhide__ = True
        if self._events:
            raise AssertionError(f"Events were emitted.\n{_listing(self._events)}")

    def _expected(
        self,
        event_type: str | type | TypedData,
        tenant: TenantId | None,
        data: EventData | None,
        event_id: str | None = None,
        channels: Sequence[str] | None = None,
    ) -> _Expected:
        if is_typed(event_type):
            if data is not None:
                raise TypeError("Pass either an instance, or a class or name with `data`, not both.")
            event_type, data = type(event_type), cast("TypedData", event_type)
        plain: Mapping[str, Any] | None = json.loads(encode_data(data)) if is_typed(data) else cast("Any", data)
        return _Expected(self._name_of(event_type), tenant, plain, event_id, channels)

    def _name_of(self, event_type: object) -> str:
        if isinstance(event_type, str):
            return event_type
        if not isinstance(event_type, type):
            raise TypeError(f"`event_type` must be a name, a class or an instance of one, not {event_type!r}.")
        for place, catalog in enumerate(self._catalogs, 1):
            try:
                return catalog.for_model(event_type).name
            except UnknownEventType:
                if place == len(self._catalogs):
                    raise
        # Without events, there is no catalog to check the class against.
        return event_type.__name__


@contextmanager
def recording() -> Iterator[EmittedEvents]:
    """Record what all apps of this process emit until the block ends, on any backend."""
    events = EmittedEvents()
    observers.append(events.record)
    try:
        yield events
    finally:
        observers.remove(events.record)


class _Expected:
    def __init__(
        self,
        event_type: str,
        tenant: TenantId | None,
        data: Mapping[str, Any] | None,
        event_id: str | None,
        channels: Sequence[str] | None,
    ) -> None:
        self.event_type = event_type
        self.tenant = None if tenant is None else str(tenant)
        self.data = data
        self.event_id = event_id
        self.channels = None if channels is None else sorted(channels)

    def __str__(self) -> str:
        wanted = {"tenant": self.tenant, "data": self.data, "event_id": self.event_id, "channels": self.channels}
        given = ", ".join(f"{name}={value!r}" for name, value in wanted.items() if value is not None)
        return f"`{self.event_type}`" + (f" with {given}" if given else "")

    def differences(self, event: Event) -> list[str]:
        pairs = [("type", self.event_type, event.type), ("tenant", self.tenant, event.tenant)]
        pairs += [("event_id", self.event_id, event.event_id)]
        found = [_differs(name, wanted, got) for name, wanted, got in pairs if wanted not in (None, got)]
        if self.channels is not None and self.channels != sorted(event.channels):
            found.append(_differs("channels", self.channels, sorted(event.channels)))
        if self.data is not None:
            found += _compare("data", self.data, event.data)
        return found

    def likeness(self, event: Event) -> tuple[bool, float, int]:
        same = event.type == self.event_type
        # A different value is closer than a missing one.
        distance = sum(2 if line.endswith(_IS_MISSING) else 1 for line in self.differences(event))
        return same, SequenceMatcher(None, self.event_type, event.type).ratio(), -distance


def _compare(path: str, expected: Any, actual: Any) -> list[str]:
    if isinstance(expected, Mapping) and isinstance(actual, Mapping):
        return [
            line
            for key, value in expected.items()
            for line in _compare(f"{path}[{key!r}]", value, actual.get(key, _MISSING))
        ]
    if isinstance(expected, (list, tuple)) and isinstance(actual, list) and len(expected) == len(actual):
        return [
            line
            for index, (value, other) in enumerate(zip(expected, actual, strict=True))
            for line in _compare(f"{path}[{index}]", value, other)
        ]
    # In Python, `True == 1`. In JSON, they differ.
    if expected == actual and isinstance(expected, bool) == isinstance(actual, bool):
        return []
    return [_differs(path, expected, actual)]


def _differs(path: str, expected: Any, actual: Any) -> str:
    return f"{path}: expected {expected!r}, " + (_IS_MISSING if actual is _MISSING else f"was {actual!r}")


def _nearest(expected: _Expected, events: Sequence[Event]) -> str:
    if not events:
        return "Nothing was emitted."
    nearest = max(events, key=expected.likeness)
    lines = [f"The closest is #{events.index(nearest) + 1}, which differs in:"]
    lines += [f"  {line}" for line in expected.differences(nearest)]
    return "\n".join([*lines, _listing(events)])


def _listing(events: Sequence[Event]) -> str:
    if not events:
        return "Nothing was emitted."
    lines = [f"Emitted {_count(len(events), 'event')}:"]
    for number, event in enumerate(events, 1):
        data = json.dumps(event.data, ensure_ascii=False)
        shown = data if len(data) <= _LINE else f"{data[:_LINE]}..."
        lines.append(f"  #{number} {event.type} tenant={event.tenant!r} {shown}")
    return "\n".join(lines)


def _count(number: int, noun: str = "time") -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
