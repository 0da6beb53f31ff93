"""Time-ordered ids: KSUIDs with milliseconds, in Svix's format.

A KSUID here is 20 bytes in 27 base62 characters: 4 bytes of seconds since 1,400,000,000, 1 byte of quarter-second
hundredths (`milliseconds >> 2`), 15 bytes of randomness. Text order is time order, in ticks of 4 ms. Within a process,
ids of one kind never decrease, so events of a request keep their order. They only follow the clock back if it is set
back by more than a second.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections import defaultdict

from starlette_webhooks.forks import call_in_children

__all__ = [
    "first_id",
    "is_endpoint_id",
    "is_event_id",
    "is_first_id",
    "is_id",
    "is_message_id",
    "is_position_id",
    "mint",
    "position_id",
    "timestamp_ms",
]

_EPOCH = 1_400_000_000
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_VALUES = {character: value for value, character in enumerate(_ALPHABET)}
_PAIRS = [a + b for a in _ALPHABET for b in _ALPHABET]
_RANDOM_BITS = 120
_KSUID = re.compile(r"[0-9A-Za-z]{27}", re.ASCII)
_ENDPOINT_ID = re.compile(r"ep_[0-9A-Za-z]{22,40}", re.ASCII)
_EVENT_ID = re.compile(r"(?!msg_)[a-zA-Z0-9._-]{1,256}", re.ASCII)

# An id has three parts: 14 characters for the tick and 42 random bits, the same for all ids of a tick; 2 characters
# that count; and 11 random ones. This is much cheaper than converting 160 bits to base 62.
_HEAD, _TAIL = 14, 11
_UNIT = 62 ** (27 - _HEAD)
_HEAD_BITS = 42
_MAX_SET_BACK = 250
_FROM_BYTE = bytes.maketrans(bytes(range(256)), (_ALPHABET * 5)[:256].encode())


class _Head:
    """The common start of the ids of one kind in one tick."""

    __slots__ = ("__weakref__", "count", "number", "text", "tick")

    def __init__(self) -> None:
        self.tick = -1
        self.number = 0
        self.text = ""
        self.count = 0
        call_in_children(self)

    def after_fork(self) -> None:
        """In a child, a thread that does not exist there may hold the lock."""
        global _lock
        _lock = threading.Lock()

    def start(self, number: int) -> None:
        self.number = number
        self.text = _encode(number, _HEAD)
        self.count = 0


_lock = threading.Lock()
# Separate for each kind, because the clock of attempts may be that of a test.
_heads: defaultdict[str, _Head] = defaultdict(_Head)


def _encode(number: int, length: int) -> str:
    characters = []
    for _ in range(length // 2):
        number, rest = divmod(number, 3844)
        characters.append(_PAIRS[rest])
    if length % 2:
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
    """Mint an id such as `msg_2xYbnVn4gvBVd3z7qjHqSAPrGvi`, greater than earlier ones of this process and prefix."""
    if milliseconds is None:
        milliseconds = time.time_ns() // 1_000_000
    tail = os.urandom(_TAIL).translate(_FROM_BYTE).decode()
    tick = milliseconds >> 2
    with _lock:
        head = _heads[prefix]
        if not 0 <= head.tick - tick <= _MAX_SET_BACK:
            head.tick = tick
            # Rounded up, so that it is not in the previous tick.
            first = -(-_tick(milliseconds) // _UNIT)
            head.start(first + int.from_bytes(os.urandom(6), "big") % (1 << _HEAD_BITS))
        elif head.count == len(_PAIRS):
            head.start(head.number + 1)
        beginning = f"{prefix}{head.text}{_PAIRS[head.count]}"
        head.count += 1
    return beginning + tail


def first_id(prefix: str, milliseconds: int) -> str:
    """Return the lowest id of the tick with this time, for bounds such as `id >= first_id("msg_", since)`.

    Times before 2014-05-13 or after 2150-06-19 count as these."""
    return prefix + _encode(_first(milliseconds), 27)


def _first(milliseconds: int) -> int:
    return _tick(min(max(milliseconds, _EPOCH * 1000), (_EPOCH + 0xFFFFFFFF) * 1000))


def is_first_id(prefix: str, text: str) -> bool:
    """Return whether `first_id` made this id. Nothing has such an id, because ids of things are random."""
    return is_id(prefix, text) and _random_part(text) == 0


def position_id(milliseconds: int) -> str:
    """Return what a stream resumes after that has everything up to a time, but no event.

    It differs from `first_id`, which stands for a time that a reader chooses, whichever events there were.
    """
    return "msg_" + _encode(_first(milliseconds) + 1, 27)


def is_position_id(text: str) -> bool:
    """Return whether `position_id` made this id. No event has such an id."""
    return is_message_id(text) and _random_part(text) == 1


def _random_part(identifier: str) -> int:
    return _decode(identifier[-27:]) & ((1 << _RANDOM_BITS) - 1)


def timestamp_ms(identifier: str) -> int:
    """Return when an id was minted, in milliseconds since the epoch, rounded down to its tick of 4 ms."""
    tick = _decode(identifier[-27:]) >> _RANDOM_BITS
    return ((tick >> 8) + _EPOCH) * 1000 + ((tick & 0xFF) << 2)


def is_message_id(text: str) -> bool:
    """Return whether this has the form of an event's public id: `msg_` and a KSUID of 20 bytes."""
    return is_id("msg_", text)


def is_id(prefix: str, text: str) -> bool:
    """Return whether this has the form of an id: the prefix and a KSUID of 20 bytes."""
    tail = text[len(prefix) :]
    return text.startswith(prefix) and _KSUID.fullmatch(tail) is not None and _decode(tail) >> 160 == 0


def is_endpoint_id(text: str) -> bool:
    """Return whether this has the form of an endpoint's id on any backend."""
    return _ENDPOINT_ID.fullmatch(text) is not None


def is_event_id(text: object) -> bool:
    """Return whether this is a valid `event_id`: `[a-zA-Z0-9._-]{1,256}` without the prefix `msg_`, as in Svix."""
    return isinstance(text, str) and _EVENT_ID.fullmatch(text) is not None
