"""Tools for the tests of a host: a record of emitted events, a receiver of webhooks, and a clock to advance.

The package's pytest plugin provides them as the fixtures `emitted_webhooks`, `webhook_receiver` and `webhook_clock`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from starlette_webhooks.backends.memory import MemoryBackend
    from starlette_webhooks.testing.clock import Clock
    from starlette_webhooks.testing.emitted import EmittedEvents, recording
    from starlette_webhooks.testing.receiver import Delivery, Receiver, receiving

__all__ = [
    # backends
    "MemoryBackend",
    # clock
    "Clock",
    # emitted
    "EmittedEvents",
    "recording",
    # receiver
    "Delivery",
    "Receiver",
    "receiving",
]

_HOMES = {
    "MemoryBackend": "starlette_webhooks.backends.memory",
    "Clock": "starlette_webhooks.testing.clock",
    "EmittedEvents": "starlette_webhooks.testing.emitted",
    "recording": "starlette_webhooks.testing.emitted",
    "Delivery": "starlette_webhooks.testing.receiver",
    "Receiver": "starlette_webhooks.testing.receiver",
    "receiving": "starlette_webhooks.testing.receiver",
}


def __getattr__(name: str) -> Any:
    # Every test run loads the pytest plugin, which is in this package, whether it uses these names or not.
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
