"""The OpenAPI 3.1 document of the routes, with every event type under `webhooks`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette_webhooks.events import EventType

if TYPE_CHECKING:
    from pydantic import BaseModel

    from starlette_webhooks.events import EventTypes

__all__ = ["OPERATIONS", "Operation", "build_document", "event_webhooks"]

Schema = dict[str, Any]
_DATA_PATH = "#/webhooks/{}/post/requestBody/content/application~1json/schema/properties/data"
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
        if self.scope is not None:
            found |= {400, 401, 403, 503}
        if "{" in path:
            found.add(404)
        if self.body:
            found |= {413, 422}
        return sorted(found)


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
    ("POST", "/test"): Operation("sendTestEvent", "Emit an event to try things out", "write", "Event", 202, "EventTest"),
    ("GET", "/event-types"): Operation("listEventTypes", "The catalog of event types", "read", "EventTypes"),
    ("POST", "/sync"): Operation("sync", "Register the event types with the engine", "write", "Synced", 200, "Nothing"),
    ("GET", "/endpoints"): Operation("listEndpoints", "Endpoints, newest first", "read", "EndpointPage", 200, "", _PAGE),
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
    ("POST", "/portal"): Operation("createPortal", "As `GET`, for a time", "read", "PortalAccess", 200, "PortalRequest"),
    ("GET", "/dashboard"): Operation("showDashboard", "The page for customers", None, "text/html", errors=(401, 403, 503)),
    ("GET", "/openapi.json"): Operation("getOpenAPI", "This document", None, "Document"),
}

_ERRORS = {
    400: "The query, or the JSON of the body, is malformed.",
    401: "Nobody is signed in, and no valid key was sent.",
    403: "The scope is missing, or the call came from another site.",
    404: "There is no such object.",
    409: "The object is in another state than this call needs, or a limit is reached.",
    413: "The body is too large.",
    422: "The body is not what this route takes.",
    429: "Too many at once.",
    503: "The engine cannot be reached at the moment.",
}
_ERROR_HEADERS = {401: "WWW-Authenticate", 429: "Retry-After", 503: "Retry-After"}


def event_webhooks(event_types: Iterable[EventType]) -> dict[str, Any]:
    """The `webhooks` of an OpenAPI 3.1 document: for each event type what endpoints are sent."""
    return {event_type.name: {"post": _webhook(event_type)} for event_type in event_types}


def _webhook(event_type: EventType) -> dict[str, Any]:
    schema = _relocate(event_type.json_schema or {"type": "object"}, _DATA_PATH.format(event_type.name))
    payload = _object(type={"const": event_type.name}, timestamp=_TIME, data=schema)
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
            _parameter("webhook-id", "The event's id, the same for each attempt: skip repeats.", {"type": "string"}),
            _parameter("webhook-timestamp", "Seconds since the epoch of this attempt.", {"type": "string"}),
            _parameter("webhook-signature", "`v1,` and the HMAC-SHA256 in base64 of `id.timestamp.body`; one for each "
                       "secret, divided by spaces (Standard Webhooks).", {"type": "string"}),
        ],
        "requestBody": {"required": True, "content": {"application/json": content}},
        "responses": {"2XX": {"description": "Taken. Anything else is tried again; 410 disables the endpoint."}},
    }  # fmt: skip


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
    event_types: EventTypes, *, scopes: Mapping[str, str], version: str, title: str = "Webhooks"
) -> dict[str, Any]:
    """The document, but for `servers`, which depends on the request.

    Args:
        scopes: How `read` and `write` are called here.
    """
    names = sorted(event_type.name for event_type in event_types)
    paths: dict[str, Any] = {}
    for (method, path), operation in OPERATIONS.items():
        paths.setdefault(path, {})[method.lower()] = _document_operation(path, operation, scopes)
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version, "description": _DESCRIPTION},
        "paths": paths,
        "webhooks": event_webhooks(event_types),
        "components": {
            "schemas": {**_schemas(), **_bodies(names)},
            "parameters": _parameters(names),
            "responses": {str(status): _error(status, text) for status, text in _ERRORS.items()},
            "securitySchemes": _SECURITY,
        },
    }


def _document_operation(path: str, operation: Operation, scopes: Mapping[str, str]) -> dict[str, Any]:
    parts = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    ids = [_ref("parameters", "endpointId" if _is_endpoint(path, part) else "eventId") for part in parts]
    answer: dict[str, Any] = {"description": operation.summary + "."}
    if "/" in operation.answer:
        answer["content"] = {operation.answer: {"schema": {"type": "string"}}}
    elif operation.answer:
        answer["content"] = {"application/json": {"schema": _ref("schemas", operation.answer)}}
    documented: dict[str, Any] = {
        "operationId": operation.id,
        "summary": operation.summary,
        "parameters": ids + [_ref("parameters", name) for name in operation.parameters],
        "responses": {str(operation.status): answer},
        "security": [],
    }
    for status in operation.statuses(path):
        documented["responses"][str(status)] = _ref("responses", str(status))
    if operation.body:
        schema = _ref("schemas", operation.body)
        required = operation.body in ("EndpointCreation", "Recovery")
        documented["requestBody"] = {"required": required, "content": {"application/json": {"schema": schema}}}
    if operation.scope is not None:
        scope = scopes[operation.scope]
        documented["description"] = f"Takes the scope `{scope}`."
        documented["security"] = [{"key": [scope]}, {"session": [scope]}]
        if "ticket" in operation.parameters:
            documented["security"].append({"ticket": []})
    return documented


def _is_endpoint(path: str, part: str) -> bool:
    return part == "endpoint" or path.startswith("/endpoints/")
