"""Tools for the tests of a host: what it emitted, a receiver of its webhooks, and a clock to set forward.

The pytest plugin, which comes with the package, has them as the fixtures `emitted`, `webhook_receiver` and
`webhook_clock`.
"""

from __future__ import annotations

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
