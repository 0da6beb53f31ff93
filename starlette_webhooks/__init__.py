"""Webhooks and events for Starlette, FastAPI and Litestar."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette_webhooks._version import __version__
from starlette_webhooks.applications import Webhooks
from starlette_webhooks.attempts import Attempt
from starlette_webhooks.authentication import APIKeys, Principal
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

if TYPE_CHECKING:
    from starlette_webhooks.settings import WebhooksSettings as WebhooksSettings

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


def __getattr__(name: str) -> Any:
    # Importing Pydantic takes a tenth of a second, and few apps use this class.
    if name == "WebhooksSettings":
        from starlette_webhooks.settings import WebhooksSettings

        return WebhooksSettings
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
