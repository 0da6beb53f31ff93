"""Reads events from PostgreSQL's rows, in which channels are separated by commas."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from starlette_webhooks.events import Event
from starlette_webhooks.stores import rows

__all__ = ["to_event"]


def _split(channels: str) -> list[str]:
    return channels.split(",")


to_event: Callable[[Sequence[Any]], Event] = partial(rows.to_event, _split)
