"""The OpenAPI 3.1 document of the routes, with every event type under `webhooks`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette_webhooks.event_types import EventType

if TYPE_CHECKING:
    from starlette_webhooks.event_types import EventTypes

__all__ = ["OPERATIONS", "Operation", "build_document", "event_webhooks"]

_DESCRIPTION = (
    "Events as a list and as a stream, and the endpoints that they are delivered to as signed webhooks. Authenticate "
    "with `Authorization: Bearer <key>`; in browsers the session counts, too. Parameters and fields that a route does "
    "not know are refused. Times are in RFC 3339, with their offset from UTC."
)
_DATA_PATH = "#/webhooks/{}/post/requestBody/content/application~1json/schema/properties/data"
_HEADERS = {
    "webhook-id": "The event's id, the same for each attempt: skip repeats.",
    "webhook-timestamp": "When this attempt is made, in seconds since the epoch.",
    "webhook-signature": "`v1,` and the HMAC-SHA256 of `id.timestamp.body` in base64 (Standard Webhooks); one for each "
    "secret while it is rotated, divided by spaces.",
}
_VERBATIM = frozenset({"const", "default", "enum", "example", "examples"})


@dataclass(frozen=True, slots=True)
class Operation:
    """A route as it is documented.

    Attributes:
        id: Its `operationId`.
        scope: `read`, `write`, or None where it is open.
        answer: The name of a schema of the document, or of a media type that is not JSON; empty for no content.
        body: The name of a model in `routes.bodies`.
        parameters: Names of parameters in the query or in headers; those of the path come by themselves.
        errors: Statuses besides those that follow from the rest.
    """

    id: str
    summary: str
    scope: str | None
    answer: str
    status: int = 200
    body: str = ""
    parameters: tuple[str, ...] = ()
    errors: tuple[int, ...] = ()

    def statuses(self, path: str) -> list[int]:
        """The errors that it may answer with."""
        found = {*self.errors}
        if self.answer == "text/html":
            found |= {401, 403, 503}
        elif self.scope is not None:
            found |= {400, 401, 403, 503}
        if "{" in path:
            found.add(404)
        if self.body:
            found |= {413, 422}
        return sorted(found)


_NEEDED = frozenset({"EndpointCreation", "Recovery"})
_TIMES = ("before", "after")
_PAGE = ("limit", "cursor")
_EVENTS = ("event_type", "channel", *_PAGE, *_TIMES)
_ATTEMPTS = ("status", "status_code_class", "event_type", *_PAGE, *_TIMES)
_STREAM = ("event_type", "channel", "ticket", "last_event_id", "lastEventId", "Last-Event-ID")
_ENDPOINT = "/endpoints/{id}"

OPERATIONS: dict[tuple[str, str], Operation] = {
    ("GET", "/events"): Operation("listEvents", "Events, newest first", "read", "EventPage", parameters=_EVENTS),
    ("GET", "/events/stream"): Operation(
        "streamEvents", "Events as they happen (SSE)", "read", "text/event-stream", parameters=_STREAM, errors=(429,)
    ),
    ("POST", "/events/stream/ticket"): Operation(
        "createTicket", "A ticket for a browser's `EventSource`", "read", "Ticket", 201, "TicketRequest"
    ),
    ("GET", "/events/{id}"): Operation("getEvent", "One event", "read", "Event"),
    ("GET", "/events/{id}/attempts"): Operation(
        "listEventAttempts", "Attempts to deliver an event", "read", "AttemptPage", parameters=_ATTEMPTS
    ),
    ("POST", "/events/{id}/endpoints/{endpoint}/resend"): Operation(
        "resendEvent", "Deliver an event to an endpoint again", "write", "Nothing", 202, "Nothing", errors=(409,)
    ),
    ("POST", "/test"): Operation(
        "sendTestEvent", "Emit an event to try things out", "write", "Event", 202, "EventTest"
    ),
    ("GET", "/event-types"): Operation("listEventTypes", "The catalog of event types", "read", "EventTypes"),
    ("POST", "/sync"): Operation(
        "sync", "Register the event types with the backend", "write", "Synced", 200, "Nothing"
    ),
    ("GET", "/endpoints"): Operation(
        "listEndpoints", "Endpoints, newest first", "read", "EndpointPage", 200, "", _PAGE
    ),
    ("POST", "/endpoints"): Operation(
        "createEndpoint", "Create an endpoint", "write", "Endpoint", 201, "EndpointCreation", errors=(409,)
    ),
    ("GET", _ENDPOINT): Operation("getEndpoint", "One endpoint", "read", "Endpoint"),
    ("PATCH", _ENDPOINT): Operation(
        "updateEndpoint", "Change the fields that are given", "write", "Endpoint", 200, "EndpointChange"
    ),
    ("DELETE", _ENDPOINT): Operation("deleteEndpoint", "Delete an endpoint, and what waits for it", "write", "", 204),
    ("GET", _ENDPOINT + "/secret"): Operation("getSecret", "The secret that signs deliveries", "write", "Secret"),
    ("POST", _ENDPOINT + "/secret/rotate"): Operation(
        "rotateSecret", "A new secret; the old one signs along for 24 hours", "write", "Secret", 200, "Rotation"
    ),
    ("GET", _ENDPOINT + "/attempts"): Operation(
        "listAttempts", "Attempts to deliver to an endpoint", "read", "AttemptPage", parameters=_ATTEMPTS
    ),
    ("GET", _ENDPOINT + "/stats"): Operation(
        "getStats", "How deliveries went", "read", "Stats", parameters=("since", "until")
    ),
    ("POST", _ENDPOINT + "/recover"): Operation(
        "recoverEndpoint", "Deliver again what failed", "write", "Recovered", 202, "Recovery", errors=(409,)
    ),
    ("POST", _ENDPOINT + "/test"): Operation(
        "testEndpoint", "Send an event to this endpoint alone", "write", "Event", 202, "EventTest", errors=(409,)
    ),
    ("GET", "/portal"): Operation("getPortal", "A link to the page for customers", "read", "PortalAccess"),
    ("POST", "/portal"): Operation(
        "createPortal", "As `GET`, for a time", "read", "PortalAccess", 200, "PortalRequest"
    ),
    ("GET", "/dashboard"): Operation(
        "showPortal", "The page for customers", "read", "text/html", parameters=("token", "theme")
    ),
    ("GET", "/openapi.json"): Operation("getOpenAPI", "This document", None, "Document"),
}


def event_webhooks(event_types: Iterable[EventType]) -> dict[str, Any]:
    """The `webhooks` of an OpenAPI 3.1 document: for each event type what endpoints are sent."""
    return {event_type.name: {"post": _webhook(event_type)} for event_type in event_types}


def _webhook(event_type: EventType) -> dict[str, Any]:
    schema = _relocate(event_type.json_schema or {"type": "object"}, _DATA_PATH.format(event_type.name))
    fields = {
        "type": {"const": event_type.name},
        "timestamp": {"type": "string", "format": "date-time"},
        "data": schema,
    }
    payload = {"type": "object", "properties": fields, "required": list(fields)}
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
            for name, text in _HEADERS.items()
        ],
        "requestBody": {"required": True, "content": {"application/json": content}},
        "responses": {"2XX": {"description": "Taken. Anything else is tried again; 410 disables the endpoint."}},
    }


def _relocate(schema: Any, place: str) -> Any:
    """The schema with its local references as they are from the root of the document."""
    if isinstance(schema, list):
        return [_relocate(item, place) for item in schema]
    if not isinstance(schema, Mapping) or "$id" in schema:
        return schema
    moved = {key: value if key in _VERBATIM else _relocate(value, place) for key, value in schema.items()}
    reference = schema.get("$ref")
    if isinstance(reference, str) and (reference == "#" or reference.startswith("#/")):
        moved["$ref"] = place + reference[1:]
    return moved


def build_document(
    event_types: EventTypes,
    *,
    components: Mapping[str, Any],
    scopes: Mapping[str, str],
    version: str,
    title: str = "Webhooks",
) -> dict[str, Any]:
    """The document, but for `servers`, which depends on the request.

    Args:
        components: What the operations refer to.
        scopes: How `read` and `write` are called here.
    """
    paths: dict[str, Any] = {}
    for (method, path), operation in OPERATIONS.items():
        paths.setdefault(path, {})[method.lower()] = _document_operation(path, operation, scopes)
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version, "description": _DESCRIPTION},
        "paths": paths,
        "webhooks": event_webhooks(event_types),
        "components": components,
    }


def _document_operation(path: str, operation: Operation, scopes: Mapping[str, str]) -> dict[str, Any]:
    documented: dict[str, Any] = {
        "operationId": operation.id,
        "summary": operation.summary,
        "parameters": [_ref("parameters", name) for name in (*_path_parameters(path), *operation.parameters)],
        "responses": _responses(path, operation),
        "security": [],
    }
    if operation.body:
        content = {"application/json": {"schema": _ref("schemas", operation.body)}}
        documented["requestBody"] = {"required": operation.body in _NEEDED, "content": content}
    if operation.scope is not None:
        scope = scopes[operation.scope]
        documented["description"] = f"Takes the scope `{scope}`."
        documented["security"] = [{"key": [scope]}, {"session": [scope]}]
    if "ticket" in operation.parameters:
        documented["security"].append({"ticket": []})
    return documented


def _responses(path: str, operation: Operation) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": f"{operation.summary}."}
    html = operation.answer == "text/html"
    if "/" in operation.answer:
        answer["content"] = {operation.answer: {"schema": {"type": "string"}}}
    elif operation.answer:
        answer["content"] = {"application/json": {"schema": _ref("schemas", operation.answer)}}
    errors = {str(code): _ref("responses", f"{code}{'Page' if html else ''}") for code in operation.statuses(path)}
    redirect = {"303": {"description": "The token of the link was good, and is in a cookie now."}} if html else {}
    return {str(operation.status): answer, **redirect, **errors}


def _path_parameters(path: str) -> Iterable[str]:
    for part in path.split("/"):
        if part == "{endpoint}":
            yield "endpoint"
        elif part == "{id}":
            yield "endpointId" if path.startswith("/endpoints/") else "eventId"


def _ref(kind: str, name: str) -> dict[str, str]:
    return {"$ref": f"#/components/{kind}/{name}"}
