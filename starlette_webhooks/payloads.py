"""From what a host emits to an `Event`: checked, stamped and encoded once."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from starlette_webhooks.events import Event, format_time
from starlette_webhooks.exceptions import EventTooLarge, InvalidEvent
from starlette_webhooks.identifiers import is_event_id, is_message_id, mint

__all__ = ["implied_event_id", "is_implied_event_id", "new_event"]

_CHANNELS = 5
_CHANNEL_LENGTH = 128
# Data that holds itself is caught as what is nested too deeply.
_encode = json.JSONEncoder(ensure_ascii=False, check_circular=False, allow_nan=False, separators=(",", ":")).encode


def new_event(
    event_type: str,
    data: Any,
    *,
    tenant: str,
    event_id: str | None = None,
    channels: Sequence[str] = (),
    max_bytes: int = 1_048_576,
    mint_id: bool = True,
) -> Event:
    """Make an event that happens now.

    Args:
        data: A dict that JSON can carry, with string keys all the way down.
        max_bytes: The largest payload, in bytes.
        mint_id: Whether to give it a public id; False for engines that do so themselves.

    Raises:
        InvalidEvent: Something of it cannot be; the message says what to do.
    """
    milliseconds = time.time_ns() // 1_000_000
    timestamp, written = _moment(milliseconds)
    payload = _encode_payload(event_type, written, data)
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
            f"{event_id!r} is no `event_id`. Use 1 to 256 of `a-z A-Z 0-9 . _ -`, not beginning with `msg_`."
        )
    return Event(
        id=identifier if mint_id else "",
        tenant=tenant,
        type=event_type,
        payload=payload,
        timestamp=timestamp,
        event_id=event_id,
        channels=_check_channels(channels) if channels else (),
    )


def implied_event_id(identifier: str) -> str:
    """The `event_id` of an event for which the host gave none: `evt_` and the KSUID of its id."""
    return "evt_" + identifier[4:]


def is_implied_event_id(event_id: str) -> bool:
    """Whether `implied_event_id` made it, so that it stands for one event with one payload."""
    return event_id.startswith("evt_") and is_message_id("msg_" + event_id[4:])


@lru_cache(1)
def _moment(milliseconds: int) -> tuple[datetime, str]:
    """A moment, and as it is written: often the same for several events."""
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return moment, format_time(moment)


def _encode_payload(event_type: str, timestamp: str, data: Any) -> bytes:
    if not isinstance(data, dict):
        raise InvalidEvent(
            f"`data` must be a dict, not {type(data).__name__}. Put the value under a key: `{{'value': ...}}`."
        )
    try:
        _check_keys(data)
        text = _encode(data)
        # The type and the time need no escaping.
        return f'{{"type":"{event_type}","timestamp":"{timestamp}","data":{text}}}'.encode()
    except TypeError as exc:
        raise InvalidEvent(
            f"`data` holds what JSON cannot carry: {exc}. Convert it first, for example with `str(...)`."
        ) from exc
    except RecursionError as exc:
        raise InvalidEvent("`data` is nested too deeply, or holds itself. Flatten it.") from exc
    except UnicodeEncodeError as exc:
        raise InvalidEvent(
            "`data` holds text with lone surrogates, which UTF-8 cannot carry. Decode that text anew."
        ) from exc
    except ValueError as exc:
        raise InvalidEvent(
            f"`data` holds what JSON cannot carry: {exc}. Use None or a string for NaN and infinity."
        ) from exc


def _check_keys(value: Any) -> None:
    # The encoder would turn keys such as 1, True and None into strings, and two of them into one.
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise InvalidEvent(f"`data` has the key {key!r}, and JSON knows string keys only. Use `{str(key)!r}`.")
            if isinstance(item, (dict, list, tuple)):
                _check_keys(item)
    else:
        for item in value:
            if isinstance(item, (dict, list, tuple)):
                _check_keys(item)


def _check_channels(channels: Sequence[str]) -> tuple[str, ...]:
    if isinstance(channels, str):
        raise InvalidEvent(f"`channels` must be a sequence of strings. Use `channels=[{channels!r}]`.")
    names = tuple(dict.fromkeys(channels))
    if len(names) > _CHANNELS:
        raise InvalidEvent(f"An event can have {_CHANNELS} channels at most, and this one has {len(names)}.")
    for name in names:
        if not is_event_id(name) or len(name) > _CHANNEL_LENGTH:
            raise InvalidEvent(
                f"{name!r} is no channel. Use 1 to {_CHANNEL_LENGTH} of `a-z A-Z 0-9 . _ -`, not beginning with `msg_`."
            )
    return names
