"""Converts between our objects and Svix's."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette_webhooks.attempts import Attempt
from starlette_webhooks.encoding import escape_separators
from starlette_webhooks.endpoints import Endpoint, EndpointChanges
from starlette_webhooks.event_types import EventType
from starlette_webhooks.events import Event
from starlette_webhooks.identifiers import is_id
from starlette_webhooks.pagination import check_cursor

if TYPE_CHECKING:
    from svix.api import EndpointIn, EndpointOut, EndpointPatch, MessageAttemptOut, MessageIn, MessageOut

__all__ = [
    "attempt_from",
    "check_iterator",
    "endpoint_from",
    "endpoint_in",
    "endpoint_patch",
    "event_from",
    "is_endpoint_id",
    "message_in",
    "type_schema",
]

_ENDPOINT_ID = re.compile(r"ep_[0-9A-Za-z]{27}", re.ASCII)
_OPAQUE_CURSOR = re.compile(r"[0-9A-Za-z_=.~-]{1,512}", re.ASCII)
_EXAMPLE_TIME = "2026-01-01T00:00:00.000Z"
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def is_endpoint_id(text: str) -> bool:
    """Return whether this is safe in a path as an endpoint's id. Svix also looks for a uid, which we never assign."""
    return _ENDPOINT_ID.fullmatch(text) is not None


def check_iterator(cursor: str | None, prefix: str, *, self_hosted: bool) -> None:
    """Refuse a cursor that is not from Svix: a self-hosted server drops the connection if it cannot decode one.

    Args:
        prefix: The prefix of the listed ids. Cursors of the cloud have another form.
    """
    check_cursor(cursor, partial(is_id, prefix) if self_hosted else _is_opaque)


def _is_opaque(cursor: str) -> bool:
    return _OPAQUE_CURSOR.fullmatch(cursor) is not None


def _milliseconds(moment: datetime) -> datetime:
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


# Events


def message_in(event: Event) -> MessageIn:
    """Return the event for `message.create`."""
    from svix.api import MessageIn

    fields: dict[str, Any] = {
        "event_type": event.type,
        "event_id": event.event_id,
        "payload": json.loads(event.payload),
    }
    if event.channels:
        fields["channels"] = list(event.channels)
    return MessageIn(**fields)


def encode_payload(payload: Mapping[str, Any]) -> bytes:
    """Return a payload as the bytes that are listed and streamed."""
    return escape_separators(_encode(payload)).encode("utf-8", "replace")


def event_from(message: MessageOut, tenant: str) -> Event:
    """Return a message as an event. Its timestamp is when Svix accepted it. The payload says when it happened."""
    return Event(
        id=message.id,
        tenant=tenant,
        type=message.event_type,
        payload=encode_payload(message.payload),
        timestamp=_milliseconds(message.timestamp),
        event_id=message.event_id or "",
        channels=tuple(message.channels or ()),
        test=message.payload.get("test") is True,
    )


# Endpoints


def endpoint_from(out: EndpointOut, tenant: str, headers: Mapping[str, str]) -> Endpoint:
    """Return Svix's endpoint as ours. Svix does not say why one is disabled."""
    return Endpoint(
        id=out.id,
        tenant=tenant,
        url=out.url,
        description=out.description,
        event_types=tuple(out.event_types or ()),
        channels=tuple(out.channels or ()),
        disabled=bool(out.disabled),
        rate_limit=out.throttle_rate,
        metadata=dict(out.metadata),
        headers=dict(headers),
        created_at=_milliseconds(out.created_at),
        updated_at=_milliseconds(out.updated_at),
    )


def _endpoint_fields(changes: EndpointChanges) -> dict[str, Any]:
    fields = changes.given()
    fields.pop("headers", None)
    if "rate_limit" in fields:
        fields["throttle_rate"] = fields.pop("rate_limit")
    for name in ("event_types", "channels"):
        if name in fields:
            # In Svix, null means all, and an empty list is refused.
            fields[name] = list(fields[name]) or None
    if "metadata" in fields:
        fields["metadata"] = dict(fields["metadata"])
    return fields


def endpoint_in(changes: EndpointChanges) -> EndpointIn:
    """Return the input for a new endpoint, without its headers, which a self-hosted server ignores here."""
    from svix.api import EndpointIn

    return EndpointIn(**_endpoint_fields(changes))


def endpoint_patch(changes: EndpointChanges) -> EndpointPatch | None:
    """Return the changes to an endpoint except for its headers, or None."""
    from svix.api import EndpointPatch

    fields = _endpoint_fields(changes)
    fields.pop("secret", None)
    return EndpointPatch(**fields) if fields else None


# Attempts


def attempt_from(out: MessageAttemptOut, event_type: str, number: int) -> Attempt:
    """Return Svix's attempt as ours. Svix does not say when the next one is due."""
    answered = out.response_status_code > 0
    body = "" if out.response in ("{}", "EXPUNGED") else out.response
    return Attempt(
        id=out.id,
        event_id=out.msg_id,
        event_type=event_type,
        endpoint_id=out.endpoint_id,
        url=out.url,
        number=number,
        timestamp=_milliseconds(out.timestamp),
        status="success" if int(out.status) == 0 else "fail",
        status_code=out.response_status_code,
        duration_ms=out.response_duration_ms,
        response=body if answered else "",
        error="" if answered else body or "No response.",
        trigger="manual" if int(out.trigger_type) == 1 else "scheduled",
    )


# Event types


def type_schema(event_type: EventType, *, mark_example: bool) -> dict[str, Any]:
    """Return the JSON Schema of whole payloads of a type, with an example. At Svix, it is version `1`.

    Args:
        mark_example: Mark the example as a test event, because a self-hosted server sends it as one.
    """
    data = dict(event_type.json_schema or {"type": "object"})
    data.pop("$schema", None)
    data.pop("$id", None)
    # References such as `#/$defs/Line` start at the root.
    definitions = data.pop("$defs", None)
    schema: dict[str, Any] = {
        "title": event_type.label,
        "type": "object",
        "properties": {
            "type": {"const": event_type.name},
            "timestamp": {"type": "string", "format": "date-time"},
            "data": data,
        },
        "required": ["type", "timestamp", "data"],
    }
    if definitions:
        schema["$defs"] = definitions
    example = event_type.example
    if example is None and event_type.json_schema is None:
        example = {}
    if example is not None:
        payload = {"type": event_type.name, "timestamp": _EXAMPLE_TIME, "data": dict(example)}
        schema["examples"] = [payload | {"test": True} if mark_example else payload]
    return schema
