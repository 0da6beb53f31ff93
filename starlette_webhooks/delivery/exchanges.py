"""The headers of an attempt, as they are stored for people who look for a fault."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TypeAlias

from starlette_webhooks.attempts import MASK
from starlette_webhooks.delivery.custom_headers import is_refused

__all__ = ["Headers", "encode_headers"]

Headers: TypeAlias = Sequence[tuple[bytes, bytes]]

_LONGEST_VALUE = 512
_MOST_CHARACTERS = 2048


def encode_headers(request: Headers, response: Headers) -> str:
    """Return the headers of a request and its response as JSON, without the values of custom headers."""
    # A customer cannot set ours, and the values of all others may be passwords.
    sent = [(name, value if is_refused(name) else MASK) for name, value in _texts(request)]
    return json.dumps({"request": sent, "response": _texts(response)}, ensure_ascii=False, separators=(",", ":"))


def _texts(headers: Headers) -> list[tuple[str, str]]:
    """Return headers as text, up to a limit: a receiver may make them large."""
    found: list[tuple[str, str]] = []
    left = _MOST_CHARACTERS
    for name, value in headers:
        # PostgreSQL cannot store NUL in a text.
        text = value.decode("latin-1").replace("\x00", "")
        shown = text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"
        left -= len(name) + len(shown)
        if left < 0:
            break
        found.append((name.decode("latin-1"), shown))
    return found
