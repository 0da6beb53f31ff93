"""Events: the list, one of them, its attempts, sending it again, and test events."""

from __future__ import annotations

import re

from starlette.requests import Request
from starlette.responses import Response

from starlette_webhooks.attempts import Attempt, AttemptQuery
from starlette_webhooks.emitter import Emitter
from starlette_webhooks.events import Event, EventQuery
from starlette_webhooks.exceptions import EventTooLarge, InvalidBody, InvalidEvent, NotFound
from starlette_webhooks.identifiers import is_message_id
from starlette_webhooks.pagination import Page
from starlette_webhooks.routes.bodies import EventTest, Nothing
from starlette_webhooks.routes.services import (
    Query,
    authorize,
    describe_unknown,
    json_response,
    read_body,
    services,
)

__all__ = ["get_event", "list_event_attempts", "list_events", "resend_event", "send_test_event"]

_ATTEMPT_ID = re.compile(r"[a-z]+_[0-9A-Za-z]{27}", re.ASCII)


async def list_events(request: Request) -> Response:
    """`GET /events`: newest first, a page at a time."""
    principal = await authorize(request, "read")
    query = Query(request)
    asked = EventQuery(
        event_types=query.event_types(),
        channel=query.channel(),
        limit=query.whole("limit", 50, 1, 250),
        cursor=query.cursor(is_message_id),
        before=query.moment("before"),
        after=query.moment("after"),
    )
    query.done()
    return _event_page(await services(request).backend.list_events(principal.tenant, asked))


def _event_page(page: Page[Event]) -> Response:
    # The bytes were encoded at emit, and are joined as they are.
    cursor = b"null" if page.next_cursor is None else b'"%b"' % page.next_cursor.encode()
    events = b",".join([event.encode() for event in page.items])
    done = b"true" if page.done else b"false"
    return json_response(b'{"events":[%b],"nextCursor":%b,"done":%b}' % (events, cursor, done))


async def get_event(request: Request) -> Response:
    """`GET /events/{id}`."""
    principal = await authorize(request, "read")
    Query(request).done()
    event = await services(request).backend.get_event(principal.tenant, event_id_of(request))
    if event is None:
        raise NotFound("There is no such event.")
    return json_response(event.encode())


def event_id_of(request: Request) -> str:
    """The event's id in the path. What has not the form of one is not there."""
    identifier: str = request.path_params["id"]
    if not is_message_id(identifier):
        raise NotFound("There is no such event.")
    return identifier


async def list_event_attempts(request: Request) -> Response:
    """`GET /events/{id}/attempts`: over all endpoints, newest first."""
    principal = await authorize(request, "read")
    identifier = event_id_of(request)
    query = attempt_query(Query(request), event_id=identifier)
    backend = services(request).backend
    if await backend.get_event(principal.tenant, identifier) is None:
        raise NotFound("There is no such event.")
    return attempt_page(await backend.list_attempts(principal.tenant, query))


def attempt_query(query: Query, *, event_id: str | None = None, endpoint_id: str | None = None) -> AttemptQuery:
    """The query string of a list of attempts."""
    status = query.choice("status", {"success": "success", "fail": "fail"})
    code_class = query.text("status_code_class")
    asked = AttemptQuery(
        event_id=event_id,
        endpoint_id=endpoint_id,
        status=status,  # type: ignore[arg-type]
        status_code_class=None if code_class is None else query.whole("status_code_class", 0, 0, 5),
        event_types=query.event_types(),
        limit=query.whole("limit", 50, 1, 250),
        cursor=query.cursor(lambda text: _ATTEMPT_ID.fullmatch(text) is not None),
        before=query.moment("before"),
        after=query.moment("after"),
    )
    query.done()
    return asked


def attempt_page(page: Page[Attempt]) -> Response:
    """A list of attempts."""
    attempts = [attempt.document() for attempt in page.items]
    return json_response({"attempts": attempts, "nextCursor": page.next_cursor, "done": page.done})


async def resend_event(request: Request) -> Response:
    """`POST /events/{id}/endpoints/{endpoint}/resend`: deliver it there again."""
    principal = await authorize(request, "write")
    Query(request).done()
    await read_body(request, Nothing)
    event_id = event_id_of(request)
    if not await services(request).backend.resend(principal.tenant, event_id, request.path_params["endpoint"]):
        raise NotFound("There is no such event, or no such endpoint.")
    return json_response({}, 202)


def invalid_event(request: Request, error: InvalidEvent) -> InvalidBody:
    """What to tell a customer about an event that cannot be."""
    if isinstance(error, EventTooLarge):
        most = services(request).settings.max_event_bytes
        return InvalidBody(f"The event has more than {most} bytes. Send less `data`.", code="invalid_event")
    return InvalidBody(str(error), code="invalid_event")


async def read_test_event(request: Request) -> EventTest:
    """The body of a test, with an event type that is registered and data that fit it."""
    body = await read_body(request, EventTest)
    catalog = services(request).event_types
    event_type = catalog.get(body.event_type)
    if event_type is None:
        raise InvalidBody(describe_unknown(catalog, body.event_type), code="unknown_event_type")
    if body.data is None:
        body.data = dict(event_type.example or {})
    try:
        event_type.check(body.data)
    except InvalidEvent as exc:
        raise invalid_event(request, exc) from exc
    return body


async def send_test_event(request: Request) -> Response:
    """`POST /test`: emit an event, which goes the whole real way."""
    principal = await authorize(request, "write")
    Query(request).done()
    body = await read_test_event(request)
    emitter = Emitter(services(request).context, tenant=principal.tenant)
    try:
        event = await emitter.send(body.event_type, body.data)
    except InvalidEvent as exc:
        raise invalid_event(request, exc) from exc
    return json_response(event.encode(), 202)
