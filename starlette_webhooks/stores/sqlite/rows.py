"""Reads events from SQLite's rows, in which channels are a JSON array."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from starlette_webhooks.events import Event
from starlette_webhooks.stores import rows

__all__ = ["to_event"]

to_event: Callable[[Sequence[Any]], Event] = partial(rows.to_event, json.loads)
