"""Creates `Event`s from what a host emits: checks, timestamps and encodes once."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import TypedDict, Unpack

from starlette_webhooks.encoding import encode_data
from starlette_webhooks.events import Event
from starlette_webhooks.exceptions import EventTooLarge, InvalidEvent, excerpt
from starlette_webhooks.identifiers import is_event_id, is_message_id, mint

__all__ = ["EventOptions", "implied_event_id", "is_implied_event_id", "make_event", "new_event"]

_CHANNELS = 5
_CHANNEL_LENGTH = 128


def new_event(event_type: str, data: object = None, *, tenant: str, **options: Unpack[EventOptions]) -> Event:
    """Create an event that happens now.

    Args:
        data: The data. See `encode_data`.

    Raises:
        InvalidEvent: Something is not valid. The message says what to do.
    """
    return make_event(event_type, encode_data(data), tenant=tenant, **options)


class EventOptions(TypedDict, total=False):
    """The optional arguments of `make_event`."""

    event_id: str | None
    channels: Sequence[str]
    max_bytes: int
    mint_id: bool
    milliseconds: int | None
    test: bool


def make_event(
    event_type: str,
    data: bytes,
    *,
    tenant: str,
    event_id: str | None = None,
    channels: Sequence[str] = (),
    max_bytes: int = 1_048_576,
    mint_id: bool = True,
    milliseconds: int | None = None,
    test: bool = False,
) -> Event:
    """Create an event that happens now, from encoded data.

    Args:
        max_bytes: The maximum size of the payload.
        mint_id: Whether to assign a public id. False for backends that do this themselves.
        milliseconds: The time since the epoch by the clock of the backend. By default, this machine's.
        test: Whether it is a test event. The payload then has `"test": true`.

    Raises:
        InvalidEvent: Something is not valid. The message says what to do.
    """
    if milliseconds is None:
        milliseconds = time.time_ns() // 1_000_000
    timestamp, written = _moment(milliseconds)
    mark = ',"test":true' if test else ""
    # The type and the time need no escaping.
    payload = f'{{"type":"{event_type}","timestamp":"{written}"{mark},"data":'.encode() + data + b"}"
    if len(payload) > max_bytes:
        raise EventTooLarge(
            f"The payload of `{event_type}` has {len(payload)} bytes, and {max_bytes} are allowed. Send a reference to "
            "the data instead of the data, or raise `WEBHOOKS_MAX_EVENT_BYTES`."
        )
    identifier = mint("msg_", milliseconds)
    if event_id is None:
        event_id = implied_event_id(identifier)
    elif not is_event_id(event_id):
        raise InvalidEvent(
            f"{excerpt(repr(event_id))} is not a valid `event_id`. Use 1 to 256 of `a-z A-Z 0-9 . _ -`, not beginning "
            "with `msg_`."
        )
    return Event(
        id=identifier if mint_id else "",
        tenant=tenant,
        type=event_type,
        payload=payload,
        timestamp=timestamp,
        event_id=event_id,
        channels=_check_channels(channels) if channels else (),
        test=test,
    )


def implied_event_id(identifier: str) -> str:
    """Return the `event_id` of an event without one from the host: `evt_` and the KSUID of its id."""
    return "evt_" + identifier[4:]


def is_implied_event_id(event_id: str) -> bool:
    """Return whether this is from `implied_event_id`, so that it identifies one event with one payload."""
    return event_id.startswith("evt_") and is_message_id("msg_" + event_id[4:])


@lru_cache(1)
def _moment(milliseconds: int) -> tuple[datetime, str]:
    """Return a time and its text. Cached, since it is often the same for several events."""
    seconds, rest = divmod(milliseconds, 1000)
    second, text = _second(seconds)
    return second.replace(microsecond=rest * 1000), f"{text}.{rest:03d}Z"


@lru_cache(1)
def _second(seconds: int) -> tuple[datetime, str]:
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment, moment.isoformat()[:-6]


def _check_channels(channels: Sequence[str]) -> tuple[str, ...]:
    if isinstance(channels, str):
        raise InvalidEvent(f"`channels` must be a sequence of strings. Use `channels=[{channels!r}]`.")
    names = tuple(dict.fromkeys(channels))
    if len(names) > _CHANNELS:
        raise InvalidEvent(f"An event can have {_CHANNELS} channels at most, and this one has {len(names)}.")
    for name in names:
        if not is_event_id(name) or len(name) > _CHANNEL_LENGTH:
            raise InvalidEvent(
                f"{excerpt(repr(name))} is not a valid channel. Use 1 to {_CHANNEL_LENGTH} of `a-z A-Z 0-9 . _ -`, not "
                "beginning with `msg_`."
            )
    return names
