"""Event types as the `webhooks` of an OpenAPI 3.1 document."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from starlette_webhooks.event_types import EventType

__all__ = ["WEBHOOK_HEADERS", "data_reference", "event_webhooks", "payload_schema"]

_DATA_PATH = "#/webhooks/{}/post/requestBody/content/application~1json/schema/properties/data"
WEBHOOK_HEADERS = {
    "webhook-id": "The id of the event. It is the same for each attempt, so you can skip repeats.",
    "webhook-timestamp": "The time of this attempt, in seconds since the epoch.",
    "webhook-signature": "`v1,` and the HMAC-SHA256 of `id.timestamp.body` in base64 (Standard Webhooks); one for each "
    "secret while it is rotated, divided by spaces.",
}
_VERBATIM = frozenset({"const", "default", "enum", "example", "examples"})


def event_webhooks(event_types: Iterable[EventType]) -> dict[str, Any]:
    """Return the `webhooks` of an OpenAPI 3.1 document: what endpoints receive for each event type."""
    return {event_type.name: {"post": _webhook(event_type)} for event_type in event_types}


def data_reference(event_type: EventType) -> str:
    """Return a reference to the schema of `data` in a document with these `webhooks`."""
    return _DATA_PATH.format(event_type.name)


def payload_schema(event_type: EventType, place: str) -> dict[str, Any]:
    """Return the schema of what endpoints receive.

    Args:
        place: Where the schema of `data` is in the document, as a reference.
    """
    schema = _relocate(event_type.json_schema or {"type": "object"}, place)
    fields = {
        "type": {"const": event_type.name},
        "timestamp": {"type": "string", "format": "date-time"},
        "data": schema,
    }
    required = list(fields)
    fields["test"] = {"const": True, "description": "Only in test events, which are sent to try endpoints."}
    return {"type": "object", "properties": fields, "required": required}


def _webhook(event_type: EventType) -> dict[str, Any]:
    payload = payload_schema(event_type, data_reference(event_type))
    content: dict[str, Any] = {"schema": payload}
    if event_type.example is not None:
        example = {"type": event_type.name, "timestamp": "2026-11-23T21:50:00.000Z", "data": event_type.example}
        content["examples"] = {event_type.name: {"value": example}}
    return {
        "operationId": "on." + event_type.name,
        "summary": event_type.label,
        "description": event_type.description,
        "tags": [event_type.category],
        "parameters": [
            {"name": name, "in": "header", "required": True, "description": text, "schema": {"type": "string"}}
            for name, text in WEBHOOK_HEADERS.items()
        ],
        "requestBody": {"required": True, "content": {"application/json": content}},
        "responses": {"2XX": {"description": "Accepted. Anything else is retried. 410 disables the endpoint."}},
    }


def _relocate(schema: Any, place: str) -> Any:
    """Return the schema with local references that start at the root of the document."""
    if isinstance(schema, list):
        return [_relocate(item, place) for item in schema]
    if not isinstance(schema, Mapping) or "$id" in schema:
        return schema
    moved = {key: value if key in _VERBATIM else _relocate(value, place) for key, value in schema.items()}
    reference = schema.get("$ref")
    if isinstance(reference, str) and (reference == "#" or reference.startswith("#/")):
        moved["$ref"] = place + reference[1:]
    return moved
