"""The `components` of the OpenAPI document: parameters, schemas, errors and security schemes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette_webhooks.bodies import Body, EndpointChange, EventTest
from starlette_webhooks.event_types import RESERVED, TEST_PING, EventType
from starlette_webhooks.exceptions import InvalidEvent
from starlette_webhooks.openapi import data_reference
from starlette_webhooks.portal.session import SESSION_COOKIE
from starlette_webhooks.routes.operations import Operation
from starlette_webhooks.routes.parameters import Parameter, Schema

__all__ = ["components"]

_STRING: Schema = {"type": "string"}
_WHOLE: Schema = {"type": "integer", "minimum": 0}
_COUNTED: Schema = {**_WHOLE, "description": "Endpoints, counted to 100 at most."}
_TIME: Schema = {"type": "string", "format": "date-time"}
_TEST: Schema = {"const": True, "description": "Only in test events, which are sent to try endpoints."}
_SECURITY: dict[str, Schema] = {
    "key": {"type": "http", "scheme": "bearer", "description": "An API key of the host."},
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": SESSION_COOKIE,
        "description": "The session of a link from `POST /portal`, or the host's own, by its cookie.",
    },
    "ticket": {
        "type": "apiKey",
        "in": "query",
        "name": "ticket",
        "description": "From `POST /events/stream/ticket`, for browsers, whose `EventSource` cannot set headers.",
    },
}
_ERRORS = {
    400: "The query or the JSON of the body is malformed.",
    401: "No valid key was sent, and no user is signed in.",
    403: "The caller lacks the scope, or calls from another origin.",
    404: "There is no such object.",
    408: "The body did not arrive in time.",
    409: "The state of the object does not allow the call, or a limit is reached.",
    413: "The body is too large.",
    422: "The body is not valid for this route.",
    429: "Too many calls, or too many at a time.",
    501: "The backend does not support this call.",
    503: "The backend is unavailable.",
}
_ERROR_HEADERS = {401: "WWW-Authenticate", 429: "Retry-After", 503: "Retry-After"}
_PAGES = (401, 403, 503)


def components(operations: Sequence[Operation], event_types: Sequence[EventType]) -> dict[str, Any]:
    """Return the `components` of the document.

    Args:
        event_types: The catalog.
    """
    names: Schema = {"type": "string", "enum": sorted(event_type.name for event_type in event_types)}
    responses = {str(status): _error(status, "application/json") for status in _ERRORS}
    bodies = {operation.body for operation in operations if operation.body is not None}
    parameters = dict.fromkeys(parameter for operation in operations for parameter in operation.parameters)
    return {
        "schemas": {
            **_schemas(),
            **{model.__name__: _body(model, names) for model in sorted(bodies, key=lambda model: model.__name__)},
            EventTest.__name__: _test_body(event_types),
        },
        "parameters": {parameter.key or parameter.name: _parameter(parameter, names) for parameter in parameters},
        "responses": {**responses, **{f"{status}Page": _error(status, "text/html") for status in _PAGES}},
        "securitySchemes": _SECURITY,
    }


def _error(status: int, media_type: str) -> Schema:
    schema: Schema = {"$ref": "#/components/schemas/Error"} if media_type == "application/json" else _STRING
    error: Schema = {"description": _ERRORS[status], "content": {media_type: {"schema": schema}}}
    if status in _ERROR_HEADERS:
        error["headers"] = {_ERROR_HEADERS[status]: {"schema": _STRING}}
    return error


def _body(model: type[Body], names: Schema) -> Schema:
    schema = model.model_json_schema(by_alias=True)
    schema.pop("title")
    for name, field in schema["properties"].items():
        field.pop("title", None)
        if model is EndpointChange:
            # Fields that are left out stay unchanged.
            field.pop("default", None)
        if name == "eventType":
            field.update(names)
        elif name == "eventTypes":
            field["items"] = names
    return schema


def _test_body(event_types: Sequence[EventType]) -> Schema:
    tested = [event_type for event_type in event_types if event_type.name not in RESERVED]
    names: Schema = {"type": "string", "enum": sorted(event_type.name for event_type in tested)}
    rules = [_data_rule(event_type) for event_type in tested if event_type.json_schema and event_type.validate]
    return {**_body(EventTest, names), **({"allOf": rules} if rules else {})}


def _data_rule(event_type: EventType) -> Schema:
    """Return a schema that applies the schema of an event type to the data of its test events."""
    data: Schema = {"$ref": data_reference(event_type)}
    if _has_valid_default(event_type):
        rule: Schema = {"properties": {"data": {"anyOf": [data, {"type": "null"}]}}}
    else:
        rule = {"properties": {"data": data}, "required": ["data"]}
    matches: Schema = {"properties": {"eventType": {"const": event_type.name}}}
    # Without a type, it is a ping.
    return {
        "if": matches if event_type.name == TEST_PING.name else {**matches, "required": ["eventType"]},
        "then": rule,
    }


def _has_valid_default(event_type: EventType) -> bool:
    """Return whether a test event without data is valid: with the example, or else without any fields."""
    try:
        event_type.encode(event_type.example or {})
    except InvalidEvent:
        return False
    return True


def _object(**properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _with_optional(schema: Schema, **properties: Schema) -> Schema:
    return {**schema, "properties": {**schema["properties"], **properties}}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _or_null(schema: Schema) -> Schema:
    return {**schema, "type": [schema["type"], "null"]}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _page(name: str, item: str) -> Schema:
    return _object(**{name: _list(_ref(item))}, nextCursor=_or_null(_STRING), done={"type": "boolean"})


def _schemas() -> dict[str, Schema]:
    strings: Schema = {"type": "object", "additionalProperties": _STRING}
    bucket = _object(start=_TIME, success=_WHOLE, fail=_WHOLE)
    return {
        "Error": _object(code=_STRING, detail=_STRING),
        "KeySet": _object(
            keys={
                "type": "array",
                "items": _object(
                    kty={"const": "OKP"},
                    crv={"const": "Ed25519"},
                    x=_STRING,
                    kid=_STRING,
                    use={"const": "sig"},
                    alg={"const": "EdDSA"},
                ),
            }
        ),
        "Event": _with_optional(
            _object(
                id=_STRING,
                eventType=_STRING,
                payload=_with_optional(_object(type=_STRING, timestamp=_TIME, data={"type": "object"}), test=_TEST),
                timestamp=_TIME,
            ),
            test=_TEST,
        ),
        "EventPage": _page("events", "Event"),
        "Attempt": _object(
            id=_STRING,
            eventId=_STRING,
            eventType=_STRING,
            endpointId=_STRING,
            url=_STRING,
            number={"type": "integer", "minimum": 1},
            timestamp=_TIME,
            status={"enum": ["success", "fail"]},
            statusCode={"type": "integer", "description": "0 for no response."},
            durationMs=_WHOLE,
            response=_STRING,
            error=_STRING,
            trigger={"enum": ["scheduled", "manual", "test"]},
            nextAttemptAt=_or_null(_TIME),
            requestHeaders=_or_null(_list(_object(name=_STRING, value=_STRING))),
            responseHeaders=_or_null(_list(_object(name=_STRING, value=_STRING))),
        ),
        "AttemptPage": _page("attempts", "Attempt"),
        "Undelivered": _object(
            eventId=_STRING,
            eventType=_STRING,
            timestamp=_TIME,
            endpointId=_STRING,
            endpointDisabled={"type": "boolean"},
            url=_STRING,
            state={"enum": ["exhausted", "failing", "waiting"]},
            attempts=_WHOLE,
            lastAttemptAt=_or_null(_TIME),
            statusCode={"type": "integer", "description": "0 for no response."},
            error=_STRING,
            nextAttemptAt=_or_null(_TIME),
        ),
        "UndeliveredPage": _page("undelivered", "Undelivered"),
        "EventState": _object(
            id=_STRING,
            eventType=_STRING,
            timestamp=_TIME,
            test={"type": "boolean"},
            preview={"type": "string", "description": "The start of the data, in JSON."},
            delivered=_COUNTED,
            waiting=_COUNTED,
            failing=_COUNTED,
            exhausted=_COUNTED,
        ),
        "EventStatePage": _page("events", "EventState"),
        "EventDelivery": _object(
            endpointId=_STRING,
            endpointDisabled={"type": "boolean"},
            url=_STRING,
            state={"enum": ["delivered", "waiting", "failing", "exhausted", "unsent"]},
            reason={
                "enum": ["event_type", "channel", "added_later", "disabled", "test", "changed_since", None],
                "description": "Why it is unsent.",
            },
            attempts=_WHOLE,
            lastAttemptAt=_or_null(_TIME),
            statusCode={"type": "integer", "description": "0 for no response."},
            error=_STRING,
            nextAttemptAt=_or_null(_TIME),
            running={"type": "boolean", "description": "Whether an attempt is running."},
        ),
        "EventDeliveryPage": _page("deliveries", "EventDelivery"),
        "Retried": _object(
            matching=_WHOLE,
            exact={"type": "boolean", "description": "False if more match."},
            queued=_WHOLE,
            disabled={**_WHOLE, "description": "Left out, because their endpoint is disabled."},
        ),
        "Endpoint": _with_optional(
            _object(
                id=_STRING,
                url=_STRING,
                description=_STRING,
                eventTypes={**_list(_STRING), "description": "Empty means all."},
                channels={**_list(_STRING), "description": "Empty means all."},
                disabled={"type": "boolean"},
                disabledReason={"enum": ["gone", "failing", "manual", None]},
                rateLimit=_or_null(_WHOLE),
                metadata=strings,
                headers={**_list(_STRING), "description": "Their names. The values are never returned."},
                createdAt=_TIME,
                updatedAt=_TIME,
            ),
            health=_ref("EndpointHealth"),
        ),
        "EndpointHealth": _object(
            failingSince=_or_null(_TIME),
            disablesAt={**_or_null(_TIME), "description": "When it will be disabled if it fails until then."},
            pausedUntil=_or_null(_TIME),
            waiting={**_WHOLE, "description": "Counted to 1000 at most."},
            lastFailureAt=_or_null(_TIME),
            statusCode={"type": "integer", "description": "Of the last failure. 0 for no response."},
            error=_STRING,
        ),
        "EndpointPage": _page("endpoints", "Endpoint"),
        "EventTypes": _object(eventTypes=_list(_ref("EventType"))),
        "EventType": _object(
            name=_STRING,
            label=_STRING,
            category=_STRING,
            description=_STRING,
            schema={**_or_null({"type": "object"}), "description": "A JSON Schema (2020-12) of `data`."},
            example=_or_null({"type": "object"}),
        ),
        "Synced": _object(created=_list(_STRING), updated=_list(_STRING), unchanged=_list(_STRING)),
        "Secret": _object(key={"type": "string", "pattern": "^whsec_"}),
        "Stats": _object(success=_WHOLE, fail=_WHOLE, pending=_WHOLE, since=_TIME, until=_TIME, buckets=_list(bucket)),
        "Recovered": _with_optional(
            _object(recovered=_WHOLE),
            failed={**_WHOLE, "description": "With `countOnly`: deliveries that failed."},
            missing={**_WHOLE, "description": "With `countOnly`: events that were never sent to the endpoint."},
            exact={"type": "boolean", "description": "With `countOnly`: whether there are no more of them."},
        ),
        "Ticket": _object(ticket=_STRING, expiresAt=_TIME),
        "StreamPosition": _object(
            lastEventId={"type": "string", "description": "Of the last event, or for a tenant without any event."}
        ),
        "PortalAccess": _object(url={"type": "string", "format": "uri"}, expiresAt=_TIME),
        "Document": {"type": "object", "description": "An OpenAPI or AsyncAPI document."},
    }


def _parameter(parameter: Parameter[Any], names: Schema) -> Schema:
    schema = {**parameter.schema, "items": names} if parameter.lists_event_types else parameter.schema
    documented = {
        "name": parameter.name,
        "in": parameter.place,
        "description": parameter.description,
        "schema": schema,
    }
    return {**documented, "required": True} if parameter.place == "path" else documented
