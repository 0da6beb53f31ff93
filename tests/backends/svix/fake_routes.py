"""The routes of the fake Svix server."""

from __future__ import annotations

import base64
import os
import re
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tests.backends.svix.fake_store import (
    MAX_LIMIT,
    Application,
    Message,
    Refusal,
    invalid,
    ksuid,
    list_messages,
    page_of,
    refusal,
    rfc3339,
    seconds_of,
)

if TYPE_CHECKING:
    from starlette.requests import Request

    from tests.backends.svix.fake_state import FakeState

NAME = re.compile(r"[a-zA-Z0-9\-_.]{1,256}")
FORBIDDEN_HEADERS = ("user-agent", "content-type", "content-length", "svix-")
SENSITIVE_HEADERS = ("authorization", "x-api-key")
MAX_BODY = 2 * 1024 * 1024


def _time(text: str | None) -> float | None:
    if text is None:
        return None
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise refusal(400, "generic_error", "premature end of input")
    return moment.timestamp()


def _limit(request: Request) -> int:
    limit = int(request.query_params.get("limit", 50))
    if limit > MAX_LIMIT:
        raise invalid("limit", "Given limit must not exceed 250")
    return limit


def _types(request: Request) -> list[str] | None:
    text = request.query_params.get("event_types")
    if text == "":
        raise invalid("event_types", "Event type names must be non-empty")
    return None if text is None else text.split(",")


def _application(fake: FakeState, request: Request) -> Application:
    return fake.find(request.path_params["app"])


def _endpoint(fake: FakeState, request: Request) -> tuple[Application, dict[str, Any]]:
    application = _application(fake, request)
    endpoint = application.endpoints.get(request.path_params["endpoint"])
    if endpoint is None:
        raise refusal(404, "not_found", "Entity not found")
    return application, endpoint


def _message(fake: FakeState, request: Request) -> tuple[Application, Message]:
    application = _application(fake, request)
    message = application.get(request.path_params["msg"])
    if message is None:
        raise refusal(404, "not_found", "Entity not found")
    return application, message


# Applications


def _application_out(application: Application) -> dict[str, Any]:
    created = rfc3339(application.created_at)
    return {
        "id": application.id,
        "uid": application.uid,
        "name": application.name,
        "metadata": {},
        "createdAt": created,
        "updatedAt": created,
    }


def create_application(fake: FakeState, request: Request, body: Any) -> Any:
    uid = body.get("uid")
    if uid is not None and not NAME.fullmatch(uid):
        raise invalid("uid", "Invalid uid")
    if not body.get("name"):
        raise invalid("name", "Application names must be at least one character")
    existing = next((known for known in fake.applications.values() if uid is not None and known.uid == uid), None)
    if existing is not None:
        if request.query_params.get("get_if_exists") == "true":
            return _application_out(existing)
        raise refusal(409, "conflict", "A conflict has occurred")
    now = fake.clock()
    application = Application(ksuid("app_", now), uid, body["name"], now)
    fake.applications[application.id] = application
    return 201, _application_out(application)


def delete_application(fake: FakeState, request: Request, body: Any) -> Any:
    del fake.applications[_application(fake, request).id]
    return 204, None


# Messages


def create_message(fake: FakeState, request: Request, body: Any) -> Any:
    application = _application(fake, request)
    if int(request.headers.get("content-length", 0)) > MAX_BODY:
        raise refusal(413, "payload_too_large", "Request payload is too large.")
    event_id = body.get("eventId")
    if event_id is not None and (not NAME.fullmatch(event_id) or event_id.startswith("msg_")):
        raise invalid("eventId", "Invalid id")
    if not NAME.fullmatch(body["eventType"]) or not isinstance(body["payload"], dict):
        raise invalid("payload", "Invalid")
    if event_id in application.by_event_id:
        raise refusal(409, "conflict", "A conflict has occurred")
    message = fake.store(
        application, body["eventType"], body["payload"], event_id=event_id, channels=body.get("channels")
    )
    if fake.on_commit is not None:
        fake.on_commit(message)
    if fake.queue_fails:
        raise Refusal(500, {})
    for endpoint_id in application.wanted_by(message):
        application.attempt(message, endpoint_id, manual=False, now=fake.clock())
    return 202, message.out(content=request.query_params.get("with_content") != "false")


def list_of_messages(fake: FakeState, request: Request, body: Any) -> Any:
    query = request.query_params
    page, iterator, previous, done = list_messages(
        _application(fake, request),
        now=fake.clock(),
        limit=_limit(request),
        iterator=query.get("iterator"),
        before=_time(query.get("before")),
        after=_time(query.get("after")),
        channel=query.get("channel"),
        event_types=_types(request),
    )
    content = query.get("with_content") != "false"
    out: dict[str, Any] = {
        "data": [message.out(content=content) for message in page],
        "iterator": iterator,
        "done": done,
    }
    return out if previous is None else out | {"prevIterator": previous}


def get_message(fake: FakeState, request: Request, body: Any) -> Any:
    _, message = _message(fake, request)
    if message.visible_at > fake.clock():
        raise refusal(404, "not_found", "Entity not found")
    return message.out(content=request.query_params.get("with_content") != "false")


# Endpoints


def list_endpoints(fake: FakeState, request: Request, body: Any) -> Any:
    endpoints = sorted(
        _application(fake, request).endpoints.values(), key=lambda endpoint: endpoint["id"], reverse=True
    )
    return page_of(
        endpoints, _limit(request), request.query_params.get("iterator"), lambda endpoint: str(endpoint["id"])
    )


def create_endpoint(fake: FakeState, request: Request, body: Any) -> Any:
    application = _application(fake, request)
    if not re.match(r"https?://", body.get("url") or ""):
        raise invalid("url", "Endpoint URL schemes must be http or https")
    fake.check_event_types(body.get("eventTypes"))
    now = fake.clock()
    identifier = ksuid("ep_", now)
    endpoint = {
        "id": identifier,
        "url": body["url"],
        "description": body.get("description") or "",
        "throttleRate": body.get("throttleRate"),
        "disabled": body.get("disabled") or False,
        "eventTypes": None if fake.ignores_filters else body.get("eventTypes"),
        "channels": body.get("channels"),
        "metadata": body.get("metadata") or {},
        "createdAt": rfc3339(now),
        "updatedAt": rfc3339(now),
    }
    application.endpoints[identifier] = endpoint
    application.secrets[identifier] = [body.get("secret") or _secret()]
    return 201, endpoint


def _secret() -> str:
    return "whsec_" + base64.b64encode(os.urandom(24)).decode()


def get_endpoint(fake: FakeState, request: Request, body: Any) -> Any:
    return _endpoint(fake, request)[1]


def patch_endpoint(fake: FakeState, request: Request, body: Any) -> Any:
    _, endpoint = _endpoint(fake, request)
    if "eventTypes" in body:
        fake.check_event_types(body["eventTypes"])
    if fake.ignores_filters:
        body.pop("eventTypes", None)
    endpoint.update(body, updatedAt=rfc3339(fake.clock()))
    return endpoint


def delete_endpoint(fake: FakeState, request: Request, body: Any) -> Any:
    application, endpoint = _endpoint(fake, request)
    del application.endpoints[endpoint["id"]]
    return 204, None


def get_secret(fake: FakeState, request: Request, body: Any) -> Any:
    application, endpoint = _endpoint(fake, request)
    return {"key": application.secrets[endpoint["id"]][-1]}


def rotate_secret(fake: FakeState, request: Request, body: Any) -> Any:
    application, endpoint = _endpoint(fake, request)
    secrets = application.secrets[endpoint["id"]]
    if len(secrets) > 10:
        raise refusal(400, "limit_reached", "You can only have up to 10 old secrets")
    secrets.append(body.get("key") or _secret())
    # The SDK fails on the 204.
    return 204, None


def get_headers(fake: FakeState, request: Request, body: Any) -> Any:
    application, endpoint = _endpoint(fake, request)
    headers = application.headers.get(endpoint["id"], {})
    return {
        "headers": {name: value for name, value in headers.items() if name.lower() not in SENSITIVE_HEADERS},
        "sensitive": [name for name in headers if name.lower() in SENSITIVE_HEADERS],
    }


def set_headers(fake: FakeState, request: Request, body: Any) -> Any:
    application, endpoint = _endpoint(fake, request)
    for name in body["headers"]:
        if name.lower().startswith(FORBIDDEN_HEADERS):
            raise invalid("headers", f"Header uses a forbidden name: {name}")
    application.headers[endpoint["id"]] = body["headers"]
    return 204, None


def stats(fake: FakeState, request: Request, body: Any) -> Any:
    application, endpoint = _endpoint(fake, request)
    since, until = _time(request.query_params.get("since")), _time(request.query_params.get("until"))
    if until is not None and until > fake.clock() + 1:
        raise invalid("until", "`until` cannot be in the future")
    if since is not None and (until or fake.clock()) - since > 28 * 86_400 + 1:
        raise invalid("since", "`since` cannot be more than 28 days before `until`")
    own = [attempt["status"] for attempt in application.attempts if attempt["endpointId"] == endpoint["id"]]
    return {
        "success": own.count(0),
        "pending": own.count(1),
        "fail": own.count(2),
        "sending": own.count(3),
        "canceled": own.count(4),
    }


def recover(fake: FakeState, request: Request, body: Any) -> Any:
    application, endpoint = _endpoint(fake, request)
    since = _time(body["since"])
    assert since is not None
    until = _time(body.get("until")) or fake.clock()
    if until - since > 14 * 86_400 + 300:
        raise refusal(400, "invalid_range", "Cannot recover messages more than 14 days old.")
    own = [attempt for attempt in application.attempts if attempt["endpointId"] == endpoint["id"]]
    done = {attempt["msgId"] for attempt in own if attempt["status"] == 0}
    for identifier in {attempt["msgId"] for attempt in own} - done:
        message = application.get(identifier)
        if message is not None and since <= seconds_of(message.id) <= until and not endpoint["disabled"]:
            application.attempt(message, endpoint["id"], manual=False, now=fake.clock())
    out = {"id": ksuid("qtask_", fake.clock()), "status": "running", "task": "endpoint.recover"}
    return 202, out | {"updatedAt": rfc3339(fake.clock())}


def send_example(fake: FakeState, request: Request, body: Any) -> Any:
    application, endpoint = _endpoint(fake, request)
    event_type = fake.event_types.get(body["eventType"])
    if event_type is None:
        raise refusal(404, "not_found", "Entity not found")
    examples = ((event_type["schemas"] or {}).get("1") or {}).get("examples")
    if not examples:
        raise refusal(400, "invalid_scheme", "Unable to generate example message from event-type without schema")
    message = fake.store(application, body["eventType"], examples[0])
    if endpoint["id"] in application.wanted_by(message):
        application.attempt(message, endpoint["id"], manual=False, now=fake.clock())
    return 202, message.out(content=True)


# Attempts


def _attempts(fake: FakeState, request: Request, application: Application, **own: str) -> Any:
    query = request.query_params
    wanted = {name: int(query[name]) for name in ("status", "status_code_class") if name in query}
    types = _types(request)
    attempts = [
        attempt for attempt in application.attempts if all(attempt[name] == value for name, value in own.items())
    ]
    if "endpoint_id" in query:
        attempts = [attempt for attempt in attempts if attempt["endpointId"] == query["endpoint_id"]]
    if "status" in wanted:
        attempts = [attempt for attempt in attempts if attempt["status"] == wanted["status"]]
    if "status_code_class" in wanted:
        code = wanted["status_code_class"]
        attempts = [attempt for attempt in attempts if attempt["responseStatusCode"] // 100 * 100 == code]
    if types:
        attempts = [a for a in attempts if (m := application.get(a["msgId"])) is not None and m.event_type in types]
    attempts.sort(key=lambda attempt: str(attempt["id"]), reverse=True)
    page = page_of(attempts, _limit(request), query.get("iterator"), lambda attempt: str(attempt["id"]))
    page["data"] = [_attempt_out(application, attempt, query) for attempt in page["data"]]
    return page


def _attempt_out(application: Application, attempt: dict[str, Any], query: Any) -> dict[str, Any]:
    out = dict(attempt)
    if query.get("with_content") != "true":
        out["response"] = "{}"
    message = application.get(attempt["msgId"])
    if query.get("with_msg") == "true" and message is not None:
        out["msg"] = message.out(content=False)
    return out


def attempts_of_message(fake: FakeState, request: Request, body: Any) -> Any:
    application, message = _message(fake, request)
    return _attempts(fake, request, application, msgId=message.id)


def attempts_of_endpoint(fake: FakeState, request: Request, body: Any) -> Any:
    application, endpoint = _endpoint(fake, request)
    return _attempts(fake, request, application, endpointId=endpoint["id"])


def attempted_messages(fake: FakeState, request: Request, body: Any) -> Any:
    application, endpoint = _endpoint(fake, request)
    latest = {a["msgId"]: a for a in application.attempts if a["endpointId"] == endpoint["id"]}
    status = request.query_params.get("status")
    before, after = _time(request.query_params.get("before")), _time(request.query_params.get("after"))
    messages = []
    for identifier in sorted(latest, reverse=True):
        message = application.get(identifier)
        at = seconds_of(identifier)
        if message is None or (before is not None and at >= before) or (after is not None and at < after):
            continue
        attempt = latest[identifier]
        if status is None or attempt["status"] == int(status):
            state = {"status": attempt["status"], "statusText": attempt["statusText"], "nextAttempt": None}
            messages.append(message.out(content=False) | state)
    return page_of(messages, _limit(request), request.query_params.get("iterator"), lambda message: str(message["id"]))


def attempted_destinations(fake: FakeState, request: Request, body: Any) -> Any:
    application, message = _message(fake, request)
    latest = {a["endpointId"]: a for a in application.attempts if a["msgId"] == message.id}
    endpoints = [
        application.endpoints[identifier]
        | {"status": latest[identifier]["status"], "statusText": latest[identifier]["statusText"], "nextAttempt": None}
        for identifier in sorted(latest, reverse=True)
        if identifier in application.endpoints
    ]
    return page_of(
        endpoints, _limit(request), request.query_params.get("iterator"), lambda endpoint: str(endpoint["id"])
    )


def resend(fake: FakeState, request: Request, body: Any) -> Any:
    application, message = _message(fake, request)
    _, endpoint = _endpoint(fake, request)
    if message.payload == {"expired": True}:
        raise refusal(400, "missing_payload", "Unable to resend message. Payload is missing (probably expired).")
    if not endpoint["disabled"]:
        application.attempt(message, endpoint["id"], manual=True, now=fake.clock())
    return 202, {}


# Event types and the rest


def list_event_types(fake: FakeState, request: Request, body: Any) -> Any:
    archived = request.query_params.get("include_archived") == "true"
    iterator = request.query_params.get("iterator") or ""
    rest = [t for name, t in sorted(fake.event_types.items()) if name > iterator and (archived or not t["archived"])]
    limit = _limit(request)
    page = rest[:limit]
    content = request.query_params.get("with_content") != "false"
    data = [event_type if content else event_type | {"schemas": None} for event_type in page]
    return {"data": data, "iterator": page[-1]["name"] if page else None, "done": len(rest) <= limit}


def create_event_type(fake: FakeState, request: Request, body: Any) -> Any:
    name = body["name"]
    known = fake.event_types.get(name)
    if known is not None and not known["archived"]:
        raise refusal(409, "event_type_exists", "An event_type with this name already exists")
    now = rfc3339(fake.clock())
    fake.event_types[name] = {
        "name": name,
        "description": body["description"],
        "archived": False,
        "deprecated": body.get("deprecated") or False,
        "schemas": body.get("schemas"),
        "featureFlag": body.get("featureFlag"),
        "createdAt": now,
        "updatedAt": now,
    }
    return 201, fake.event_types[name]


def patch_event_type(fake: FakeState, request: Request, body: Any) -> Any:
    event_type = fake.event_types.get(request.path_params["name"])
    if event_type is None:
        raise refusal(404, "not_found", "Entity not found")
    # Only the cloud has `groupName` and `featureFlags`.
    event_type.update({name: value for name, value in body.items() if name in event_type})
    return event_type


def delete_event_type(fake: FakeState, request: Request, body: Any) -> Any:
    fake.event_types[request.path_params["name"]]["archived"] = True
    return 204, None


def portal_access(fake: FakeState, request: Request, body: Any) -> Any:
    _application(fake, request)
    return {"url": fake.portal_url, "token": "appsk_fake"}


def expire_all(fake: FakeState, request: Request, body: Any) -> Any:
    _application(fake, request)
    return 204, None


def openapi(fake: FakeState, request: Request, body: Any) -> Any:
    # The version is a constant. Servers differ in their schemas.
    types = "filterTypes" if fake.ignores_filters else "eventTypes"
    endpoint = {"properties": {"url": {"type": "string"}, types: {"type": ["array", "null"]}}}
    info = {"title": "Svix API", "version": "1.1.1"}
    return {"openapi": "3.1.0", "info": info, "components": {"schemas": {"EndpointIn": endpoint}}}


V1 = "/api/v1"
APP = f"{V1}/app/{{app}}"
EP = f"{APP}/endpoint/{{endpoint}}"
MSG = f"{APP}/msg/{{msg}}"
ROUTES: list[tuple[str, str, Any]] = [
    ("POST", f"{V1}/app", create_application),
    ("DELETE", APP, delete_application),
    ("POST", f"{APP}/msg", create_message),
    ("GET", f"{APP}/msg", list_of_messages),
    ("GET", MSG, get_message),
    ("GET", f"{APP}/endpoint", list_endpoints),
    ("POST", f"{APP}/endpoint", create_endpoint),
    ("GET", EP, get_endpoint),
    ("PATCH", EP, patch_endpoint),
    ("DELETE", EP, delete_endpoint),
    ("GET", f"{EP}/secret", get_secret),
    ("POST", f"{EP}/secret/rotate", rotate_secret),
    ("GET", f"{EP}/headers", get_headers),
    ("PUT", f"{EP}/headers", set_headers),
    ("GET", f"{EP}/stats", stats),
    ("POST", f"{EP}/recover", recover),
    ("POST", f"{EP}/send-example", send_example),
    ("GET", f"{EP}/msg", attempted_messages),
    ("GET", f"{APP}/attempt/msg/{{msg}}", attempts_of_message),
    ("GET", f"{APP}/attempt/endpoint/{{endpoint}}", attempts_of_endpoint),
    ("GET", f"{MSG}/endpoint", attempted_destinations),
    ("POST", f"{MSG}/endpoint/{{endpoint}}/resend", resend),
    ("GET", f"{V1}/event-type", list_event_types),
    ("POST", f"{V1}/event-type", create_event_type),
    ("PATCH", f"{V1}/event-type/{{name}}", patch_event_type),
    ("DELETE", f"{V1}/event-type/{{name}}", delete_event_type),
    ("POST", f"{V1}/auth/app-portal-access/{{app}}", portal_access),
    ("POST", f"{V1}/auth/app/{{app}}/expire-all", expire_all),
    ("GET", f"{V1}/openapi.json", openapi),
]
