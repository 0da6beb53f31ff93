"""What the OpenAPI document refers to: parameters, schemas, errors, and the ways to authenticate."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from starlette_webhooks.portal.session import SESSION_COOKIE
from starlette_webhooks.routes import bodies

__all__ = ["components"]

Schema = dict[str, Any]

_STRING: Schema = {"type": "string"}
_WHOLE: Schema = {"type": "integer", "minimum": 0}
_TIME: Schema = {"type": "string", "format": "date-time"}
_BODIES: tuple[type[bodies.Body], ...] = (
    bodies.EndpointChange,
    bodies.EndpointCreation,
    bodies.EventTest,
    bodies.Nothing,
    bodies.PortalRequest,
    bodies.Recovery,
    bodies.Rotation,
    bodies.TicketRequest,
)
_MORE: dict[str, Schema] = {
    "headers": {"maxProperties": 20},
    "key": {"pattern": "^(whsec_)?[A-Za-z0-9+/]{32,86}={0,2}$"},
    "secret": {"pattern": "^(whsec_)?[A-Za-z0-9+/]{32,86}={0,2}$"},
    "since": {"format": "date-time"},
    "until": {"format": "date-time"},
    "url": {"format": "uri"},
}
"""What the models check in code, by the name of the field."""

_SECURITY: dict[str, Schema] = {
    "key": {"type": "http", "scheme": "bearer", "description": "An API key of the host."},
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": SESSION_COOKIE,
        "description": "The session of a link from `POST /portal`; or the host's own, by the cookie that it sets.",
    },
    "ticket": {
        "type": "apiKey",
        "in": "query",
        "name": "ticket",
        "description": "From `POST /events/stream/ticket`, for browsers, whose `EventSource` cannot set headers.",
    },
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
    503: "The backend cannot be reached at the moment.",
}
_ERROR_HEADERS = {401: "WWW-Authenticate", 429: "Retry-After", 503: "Retry-After"}
_PAGES = (401, 403, 503)


def components(event_types: Iterable[str]) -> dict[str, Any]:
    """The `components` of the document, for these names of event types."""
    names: Schema = {"type": "string", "enum": sorted(event_types)}
    responses = {str(status): _error(status, "application/json") for status in _ERRORS}
    return {
        "schemas": {**_schemas(), **{model.__name__: _body(model, names) for model in _BODIES}},
        "parameters": _parameters(names),
        "responses": {**responses, **{f"{status}Page": _error(status, "text/html") for status in _PAGES}},
        "securitySchemes": _SECURITY,
    }


def _error(status: int, media_type: str) -> Schema:
    schema: Schema = {"$ref": "#/components/schemas/Error"} if media_type == "application/json" else _STRING
    error: Schema = {"description": _ERRORS[status], "content": {media_type: {"schema": schema}}}
    if status in _ERROR_HEADERS:
        error["headers"] = {_ERROR_HEADERS[status]: {"schema": _STRING}}
    return error


def _body(model: type[bodies.Body], names: Schema) -> Schema:
    schema = model.model_json_schema(by_alias=True)
    schema.pop("title")
    for name, field in schema["properties"].items():
        field.pop("title", None)
        if model is bodies.EndpointChange:
            # What is left out stays as it is.
            field.pop("default", None)
        target = next((each for each in field.get("anyOf", ()) if each.get("type") == "string"), field)
        target.update(_MORE.get(name, {}))
        if name == "eventType":
            field.update(names)
        elif name == "eventTypes":
            field["items"] = names
    return schema


def _object(**properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": list(properties)}


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
        "Event": _object(
            id=_STRING,
            eventType=_STRING,
            payload=_object(type=_STRING, timestamp=_TIME, data={"type": "object"}),
            timestamp=_TIME,
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
            statusCode={"type": "integer", "description": "0 where no response came."},
            durationMs=_WHOLE,
            response=_STRING,
            error=_STRING,
            trigger={"enum": ["scheduled", "manual", "test"]},
            nextAttemptAt=_or_null(_TIME),
        ),
        "AttemptPage": _page("attempts", "Attempt"),
        "Endpoint": _object(
            id=_STRING,
            url=_STRING,
            description=_STRING,
            eventTypes={**_list(_STRING), "description": "Empty for all."},
            channels={**_list(_STRING), "description": "Empty for all."},
            disabled={"type": "boolean"},
            disabledReason={"enum": ["gone", "failing", "manual", None]},
            rateLimit=_or_null(_WHOLE),
            metadata=strings,
            headers={**_list(_STRING), "description": "Their names; the values are kept back."},
            createdAt=_TIME,
            updatedAt=_TIME,
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
        "Recovered": _object(recovered=_WHOLE),
        "Ticket": _object(ticket=_STRING, expiresAt=_TIME),
        "PortalAccess": _object(url={"type": "string", "format": "uri"}, expiresAt=_TIME),
        "Document": {"type": "object", "description": "An OpenAPI document."},
    }


def _parameters(names: Schema) -> dict[str, Schema]:
    some = {"type": "array", "items": names, "maxItems": 20}
    filled: Schema = {"type": "string", "minLength": 1}
    queries: dict[str, tuple[str, Schema]] = {
        "event_type": ("Only these event types. Repeat it, or divide names by commas.", some),
        "channel": ("Only events with this label.", {**filled, "maxLength": 128}),
        "limit": ("How many at most.", {"type": "integer", "minimum": 1, "maximum": 250, "default": 50}),
        "cursor": ("The `nextCursor` of the page before.", filled),
        "before": ("Only what is older.", _TIME),
        "after": ("Only from then on.", _TIME),
        "since": ("The start; a day before `until` by default.", _TIME),
        "until": ("The end; now by default. 31 days after `since` at most.", _TIME),
        "status": ("Only attempts that ended so.", {"type": "string", "enum": ["success", "fail"]}),
        "status_code_class": (
            "2 for 200 to 299, and so on; 0 for no response.",
            {"type": "integer", "minimum": 0, "maximum": 5},
        ),
        "ticket": ("Instead of a key; it carries its filter.", filled),
        "last_event_id": ("As the header `Last-Event-ID`.", _STRING),
        "lastEventId": ("As the header `Last-Event-ID`.", _STRING),
        "token": ("From the link of `POST /portal`.", filled),
        "theme": ("`light` or `dark`; by default as the browser is set.", _STRING),
    }
    found = {name: _parameter(name, "query", text, schema) for name, (text, schema) in queries.items()}
    found["Last-Event-ID"] = _parameter("Last-Event-ID", "header", "The event to resume after.", _STRING)
    for key, name, text in (
        ("eventId", "id", "The id of the event."),
        ("endpointId", "id", "The id of the endpoint."),
        ("endpoint", "endpoint", "The id of the endpoint."),
    ):
        pattern = r"^msg_[0-9A-Za-z]{27}$" if key == "eventId" else r"^ep_[0-9A-Za-z]{22,40}$"
        schema = {"type": "string", "pattern": pattern}
        found[key] = {**_parameter(name, "path", text, schema), "required": True}
    return found


def _parameter(name: str, place: str, text: str, schema: Schema) -> Schema:
    return {"name": name, "in": place, "description": text, "schema": schema}
