"""Time-ordered ids: KSUIDs with milliseconds, as Svix makes them.

A KSUID here is 20 bytes in 27 base62 characters: 4 bytes of seconds since 1,400,000,000, 1 byte of quarter-second
hundredths (`milliseconds >> 2`), 15 bytes of randomness. Text order is time order, in ticks of 4 ms. Within one process
ids never go back, so events of one request keep their order.
"""

from __future__ import annotations

import os
import re
import threading
import time

__all__ = ["first_id", "is_event_id", "is_message_id", "mint", "timestamp_ms"]

_EPOCH = 1_400_000_000
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_VALUES = {character: value for value, character in enumerate(_ALPHABET)}
_PAIRS = [a + b for a in _ALPHABET for b in _ALPHABET]
_RANDOM_BITS = 120
_MESSAGE_ID = re.compile(r"msg_[0-9A-Za-z]{27}", re.ASCII)
_EVENT_ID = re.compile(r"(?!msg_)[a-zA-Z0-9._-]{1,256}", re.ASCII)

_lock = threading.Lock()
_last = 0


def _encode(number: int) -> str:
    characters = []
    for _ in range(13):
        number, rest = divmod(number, 3844)
        characters.append(_PAIRS[rest])
    characters.append(_ALPHABET[number])
    return "".join(reversed(characters))


def _decode(text: str) -> int:
    number = 0
    for character in text:
        number = number * 62 + _VALUES[character]
    return number


def _tick(milliseconds: int) -> int:
    seconds, rest = divmod(milliseconds, 1000)
    return ((seconds - _EPOCH) << 8 | rest >> 2) << _RANDOM_BITS


def mint(prefix: str, milliseconds: int | None = None) -> str:
    """A new id such as `msg_2xYbnVn4gvBVd3z7qjHqSAPrGvi`, greater than every id this process minted before it."""
    global _last
    if milliseconds is None:
        milliseconds = time.time_ns() // 1_000_000
    number = _tick(milliseconds) | int.from_bytes(os.urandom(15), "big") >> 1
    with _lock:
        if number <= _last:
            number = _last + 1 + (number & 0xFFFFFFFF)
        _last = number
    return prefix + _encode(number)


def first_id(prefix: str, milliseconds: int) -> str:
    """The lowest id of the tick that holds this moment, for bounds such as `id >= first_id("msg_", since)`.

    Moments before 2014-05-13 or after 2150-06-19 count as these."""
    return prefix + _encode(_tick(min(max(milliseconds, _EPOCH * 1000), (_EPOCH + 0xFFFFFFFF) * 1000)))


def timestamp_ms(identifier: str) -> int:
    """When an id was minted, in milliseconds since the epoch, rounded down to its tick of 4 ms."""
    tick = _decode(identifier[-27:]) >> _RANDOM_BITS
    return ((tick >> 8) + _EPOCH) * 1000 + ((tick & 0xFF) << 2)


def is_message_id(text: str) -> bool:
    """Whether this has the form of an event's public id: `msg_` and a KSUID of 20 bytes."""
    return _MESSAGE_ID.fullmatch(text) is not None and _decode(text[4:]) >> 160 == 0


def is_event_id(text: object) -> bool:
    """Whether this may be an `event_id`: `[a-zA-Z0-9._-]{1,256}`, not beginning with `msg_`, which Svix refuses."""
    return isinstance(text, str) and _EVENT_ID.fullmatch(text) is not None
