"""Webhooks and events for Starlette, FastAPI and Litestar."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from starlette_webhooks._version import __version__

if TYPE_CHECKING:
    from starlette_webhooks.applications import Webhooks
    from starlette_webhooks.attempts import Attempt
    from starlette_webhooks.authentication import APIKeys, Principal
    from starlette_webhooks.dead_letters import DeadLetter
    from starlette_webhooks.emissions import Emission, Emissions, NewEvent
    from starlette_webhooks.emitter import Emitter, WebhooksRequest, WebhooksState, WebhooksWebSocket, get_emitter
    from starlette_webhooks.endpoints import Endpoint
    from starlette_webhooks.event_types import EventType
    from starlette_webhooks.events import Event
    from starlette_webhooks.exceptions import (
        BackendError,
        BackendRefused,
        BackendUnavailable,
        Conflict,
        InvalidBody,
        InvalidEvent,
        NotFound,
        NotRunning,
        QueueFull,
        TenantRequired,
        UnknownEventType,
        WebhooksError,
    )
    from starlette_webhooks.health import Health
    from starlette_webhooks.middleware import WebhooksMiddleware
    from starlette_webhooks.pagination import Page
    from starlette_webhooks.settings import WebhooksSettings

__all__ = [
    # _version
    "__version__",
    # applications
    "Webhooks",
    # attempts
    "Attempt",
    # authentication
    "APIKeys",
    "Principal",
    # dead_letters
    "DeadLetter",
    # emissions
    "Emission",
    "Emissions",
    "NewEvent",
    # emitter
    "Emitter",
    "WebhooksRequest",
    "WebhooksState",
    "WebhooksWebSocket",
    "get_emitter",
    # endpoints
    "Endpoint",
    # events
    "Event",
    "EventType",
    # exceptions
    "BackendError",
    "BackendRefused",
    "BackendUnavailable",
    "Conflict",
    "InvalidBody",
    "InvalidEvent",
    "NotFound",
    "NotRunning",
    "QueueFull",
    "TenantRequired",
    "UnknownEventType",
    "WebhooksError",
    # health
    "Health",
    # middleware
    "WebhooksMiddleware",
    # pagination
    "Page",
    # settings
    "WebhooksSettings",
]

# Loaded on first use: the client of a customer needs no server, and few apps need Pydantic's settings.
_MODULES = {
    "applications": ("Webhooks",),
    "attempts": ("Attempt",),
    "authentication": ("APIKeys", "Principal"),
    "dead_letters": ("DeadLetter",),
    "emissions": ("Emission", "Emissions", "NewEvent"),
    "emitter": ("Emitter", "WebhooksRequest", "WebhooksState", "WebhooksWebSocket", "get_emitter"),
    "endpoints": ("Endpoint",),
    "event_types": ("EventType",),
    "events": ("Event",),
    "exceptions": (
        "BackendError",
        "BackendRefused",
        "BackendUnavailable",
        "Conflict",
        "InvalidBody",
        "InvalidEvent",
        "NotFound",
        "NotRunning",
        "QueueFull",
        "TenantRequired",
        "UnknownEventType",
        "WebhooksError",
    ),
    "health": ("Health",),
    "middleware": ("WebhooksMiddleware",),
    "pagination": ("Page",),
    "settings": ("WebhooksSettings",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
