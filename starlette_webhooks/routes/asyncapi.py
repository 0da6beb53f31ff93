"""The AsyncAPI 3 document: every event type, in the stream and as a webhook, from the same registry as OpenAPI."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

from starlette_webhooks._version import __version__
from starlette_webhooks.event_types import EventType, EventTypes
from starlette_webhooks.openapi import WEBHOOK_HEADERS, payload_schema
from starlette_webhooks.routes.operations import Call, operation
from starlette_webhooks.routes.pages import LargeResponse

__all__ = ["AsyncAPIDocument", "get_asyncapi"]

_DESCRIPTION = (
    "Events as they happen: as Server-Sent Events, and as webhooks that are signed according to Standard Webhooks. The "
    "OpenAPI document describes the other routes."
)
_STREAM = (
    "Each message is the `data` of a server-sent event, whose `id` is that of the event. If events after the requested "
    "id are no longer stored, a server-sent event `gap` comes first, with the `data` "
    '`{"requested": "the requested id", "oldest": "the id of the first stored event, or null"}`.'
)
_PAYLOAD = "#/components/messages/{}/payload/properties/data"


class AsyncAPIDocument:
    """The document of a `Webhooks`. It is built and encoded once, at the first request for it."""

    def __init__(self, event_types: EventTypes, *, title: str) -> None:
        self._event_types = event_types
        self._title = title
        self._rest = b""

    def render(self, url: str) -> tuple[bytes, bytes]:
        """Return the document for routes at this URL, in two parts.

        All responses share the second one, which is large. The caller chooses the URL, by the `Host` header.
        """
        if not self._rest:
            document = build_document(self._event_types, title=self._title)
            self._rest = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode().removeprefix(b"{")
        parts = urlsplit(url)
        server = {"host": parts.netloc, "protocol": parts.scheme, "pathname": parts.path or "/"}
        secured = {**server, "security": [{"$ref": "#/components/securitySchemes/key"}]}
        return b'{"servers":%b,' % json.dumps({"api": secured}).encode(errors="replace"), self._rest


def build_document(event_types: EventTypes, *, title: str) -> dict[str, Any]:
    """Build the document without `servers`, which depends on the request."""
    names = [event_type.name for event_type in event_types]
    messages: dict[str, Any] = {}
    for event_type in event_types:
        messages[event_type.name] = _webhook(event_type)
        messages[f"{event_type.name}.streamed"] = _streamed(event_type)
    return {
        "asyncapi": "3.0.0",
        "info": {"title": title, "version": __version__, "description": _DESCRIPTION},
        "defaultContentType": "application/json",
        "channels": {
            "stream": {
                "address": "/events/stream",
                "title": "The stream of events",
                "description": _STREAM,
                "servers": [{"$ref": "#/servers/api"}],
                "messages": {name: _message(f"{name}.streamed") for name in names},
            },
            "webhooks": {
                # The endpoints of customers, which are not known here.
                "address": None,
                "title": "Webhooks",
                "description": "Each message is the body of a `POST` request to an endpoint.",
                "messages": {name: _message(name) for name in names},
            },
        },
        "operations": {
            "streamEvents": {"action": "send", "channel": {"$ref": "#/channels/stream"}, "summary": "Stream events."},
            "deliverEvents": {
                "action": "send",
                "channel": {"$ref": "#/channels/webhooks"},
                "summary": "Deliver events to endpoints.",
            },
        },
        "components": {
            "messages": messages,
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "An API key of the host."},
            },
        },
    }


def _message(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/messages/{name}"}


def _about(event_type: EventType) -> dict[str, Any]:
    return {
        "name": event_type.name,
        "title": event_type.label,
        "summary": event_type.description,
        "tags": [{"name": event_type.category}],
    }


def _webhook(event_type: EventType) -> dict[str, Any]:
    headers = {name: {"type": "string", "description": text} for name, text in WEBHOOK_HEADERS.items()}
    return {
        **_about(event_type),
        "headers": {"type": "object", "required": list(headers), "properties": headers},
        "payload": payload_schema(event_type, _PAYLOAD.format(event_type.name)),
    }


def _streamed(event_type: EventType) -> dict[str, Any]:
    properties: dict[str, Any] = {
        "id": {"type": "string"},
        "eventType": {"const": event_type.name},
        "payload": {"$ref": f"#/components/messages/{event_type.name}/payload"},
        "timestamp": {"type": "string", "format": "date-time"},
    }
    required = list(properties)
    properties["test"] = {"const": True}
    return {**_about(event_type), "payload": {"type": "object", "properties": properties, "required": required}}


@operation("GET", "/asyncapi.json", "The events as AsyncAPI", scope=None, answer="Document")
async def get_asyncapi(call: Call[None]) -> LargeResponse:
    """Return the document, with this mount as its server."""
    request, settings = call.request, call.services.settings
    here = request.url.replace(path=request.scope.get("root_path", ""), query="", fragment="")
    parts = call.services.asyncapi(settings.public_url or str(here))
    return LargeResponse(parts, None, timeout=settings.stream_send_timeout)
