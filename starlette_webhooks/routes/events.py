"""The routes of events: the list, one event, its attempts, resending, and test events."""

from __future__ import annotations

from functools import partial

from starlette.responses import Response

from starlette_webhooks.attempts import Attempt, AttemptQuery
from starlette_webhooks.bodies import EventTest, Nothing
from starlette_webhooks.events import Event, EventQuery
from starlette_webhooks.exceptions import InvalidEvent, NotFound
from starlette_webhooks.management import invalid_event, type_and_data
from starlette_webhooks.pagination import Page
from starlette_webhooks.payloads import make_event
from starlette_webhooks.routes.messages import json_response
from starlette_webhooks.routes.operations import Call, operation, operation_with_body
from starlette_webhooks.routes.pages import EventPageResponse, LargeResponse, read_event, read_page, reserve
from starlette_webhooks.routes.parameters import (
    AFTER,
    ATTEMPT_CURSOR,
    BEFORE,
    CHANNEL,
    ENDPOINT,
    ENDPOINT_FILTER,
    EVENT_CURSOR,
    EVENT_ID,
    EVENT_TYPES,
    LIMIT,
    STATUS,
    STATUS_CODE_CLASS,
)

__all__ = [
    "ATTEMPT_FILTERS",
    "attempt_page",
    "attempt_query",
    "get_event",
    "list_all_attempts",
    "list_event_attempts",
    "list_events",
    "resend_event",
    "send_test_event",
]

_FILTERED = 9
_ROWS_PER_CALL = 100
ATTEMPT_FILTERS = (STATUS, STATUS_CODE_CLASS, EVENT_TYPES, LIMIT, ATTEMPT_CURSOR, BEFORE, AFTER)
"""The parameters of a list of attempts."""


@operation(
    "GET",
    "/events",
    "Events, newest first",
    scope="read",
    answer="EventPage",
    parameters=(EVENT_TYPES, CHANNEL, LIMIT, EVENT_CURSOR, BEFORE, AFTER),
)
async def list_events(call: Call[None]) -> EventPageResponse:
    """Return a page of events."""
    services = call.services
    call.charge(call[LIMIT] // _ROWS_PER_CALL)
    query = EventQuery(
        event_types=call[EVENT_TYPES],
        channel=call[CHANNEL],
        limit=call[LIMIT],
        cursor=call[EVENT_CURSOR],
        before=call[BEFORE],
        after=call[AFTER],
    )
    return await read_page(
        partial(services.backend.list_events, call.tenant, query),
        services.hub.budget,
        tenant=call.tenant,
        most=query.limit * services.settings.max_event_bytes,
        timeout=services.settings.stream_send_timeout,
    )


@operation("GET", "/events/{id}", "One event", scope="read", answer="Event", parameters=(EVENT_ID,))
async def get_event(call: Call[None]) -> LargeResponse:
    """Return one event."""
    settings = call.services.settings
    return await read_event(
        partial(_existing, call),
        call.services.hub.budget,
        tenant=call.tenant,
        most=settings.max_event_bytes,
        timeout=settings.stream_send_timeout,
    )


async def _existing(call: Call[None]) -> Event:
    event = await call.services.backend.get_event(call.tenant, call[EVENT_ID])
    if event is None:
        raise NotFound("There is no such event.")
    return event


@operation(
    "GET",
    "/events/{id}/attempts",
    "Attempts to deliver an event",
    scope="read",
    answer="AttemptPage",
    parameters=(EVENT_ID, *ATTEMPT_FILTERS),
)
async def list_event_attempts(call: Call[None]) -> Response:
    """Return the attempts to deliver an event, to all endpoints, newest first."""
    services = call.services
    query = attempt_query(call, event_id=call[EVENT_ID])
    page = await services.backend.list_attempts(call.tenant, query)
    if not page.items:
        # Reads the whole event.
        with await reserve(services.hub.budget, call.tenant, services.settings.max_event_bytes):
            await _existing(call)
    return attempt_page(call, page)


def attempt_query(call: Call[None], *, event_id: str | None = None, endpoint_id: str | None = None) -> AttemptQuery:
    """Return the query for attempts that a call asks for, by `ATTEMPT_FILTERS`."""
    filtered = call[STATUS_CODE_CLASS] is not None or bool(call[EVENT_TYPES])
    # A page with a filter may look at thousands of attempts.
    call.charge((_FILTERED if filtered else 0) + call[LIMIT] // _ROWS_PER_CALL)
    return AttemptQuery(
        event_id=event_id,
        endpoint_id=endpoint_id,
        status=call[STATUS],
        status_code_class=call[STATUS_CODE_CLASS],
        event_types=call[EVENT_TYPES],
        limit=call[LIMIT],
        cursor=call[ATTEMPT_CURSOR],
        before=call[BEFORE],
        after=call[AFTER],
    )


def attempt_page(call: Call[None], page: Page[Attempt]) -> Response:
    """Return the response with a page of attempts."""
    attempts = [attempt.document(whole_url=call.writes) for attempt in page.items]
    return json_response({"attempts": attempts, "nextCursor": page.next_cursor, "done": page.done})


@operation(
    "GET",
    "/attempts",
    "Attempts to deliver, over all endpoints",
    scope="read",
    answer="AttemptPage",
    parameters=(ENDPOINT_FILTER, *ATTEMPT_FILTERS),
)
async def list_all_attempts(call: Call[None]) -> Response:
    """Return attempts over all endpoints, newest first."""
    query = attempt_query(call, endpoint_id=call[ENDPOINT_FILTER])
    return attempt_page(call, await call.services.backend.list_attempts(call.tenant, query))


@operation_with_body(
    "POST",
    "/events/{id}/endpoints/{endpoint}/resend",
    "Resend an event to an endpoint",
    Nothing,
    scope="write",
    answer="Nothing",
    status=202,
    parameters=(EVENT_ID, ENDPOINT),
    errors=(409,),
)
async def resend_event(call: Call[Nothing]) -> Response:
    """Deliver an event to an endpoint again, ignoring the endpoint's filters."""
    call.services.requested.take(call.tenant, call[ENDPOINT])
    if not await call.services.backend.resend(call.tenant, call[EVENT_ID], call[ENDPOINT]):
        raise NotFound("There is no such event or endpoint.")
    return json_response({}, 202)


@operation_with_body("POST", "/test", "Emit a test event", EventTest, scope="write", answer="Event", status=202)
async def send_test_event(call: Call[EventTest]) -> Response:
    """Emit an event that is listed, streamed and delivered like any other, but immediately and marked as a test."""
    services, body = call.services, call.body
    services.requested.take(call.tenant)
    most = services.settings.max_event_bytes
    event_type, data = type_and_data(services.event_types_of(call.tenant), body)
    try:
        event = make_event(
            event_type.name,
            event_type.encode(data),
            tenant=call.tenant,
            max_bytes=most,
            mint_id=services.backend.mints_ids,
            milliseconds=services.backend.event_time(),
            test=True,
        )
    except InvalidEvent as exc:
        raise invalid_event(exc, most) from exc
    services.test_quota.take(call.tenant, len(event.payload))
    (stored,) = await services.backend.send([event])
    return json_response(stored.encode(), 202)
