"""The routes of deliveries' states: a search over events, and the deliveries of one event."""

from __future__ import annotations

from starlette.responses import Response

from starlette_webhooks.event_states import EventSearch
from starlette_webhooks.exceptions import NotFound
from starlette_webhooks.routes.messages import json_response
from starlette_webhooks.routes.operations import Call, operation
from starlette_webhooks.routes.parameters import (
    AFTER,
    BEFORE,
    CHANNEL,
    ENDPOINT_CURSOR,
    ENDPOINT_FILTER,
    EVENT_CURSOR,
    EVENT_ID,
    EVENT_STATE,
    EVENT_TYPES,
    LIMIT,
    TEXT,
)

__all__ = ["list_event_deliveries", "search_events"]

_SEARCHED = 9
_ROWS_PER_CALL = 100


@operation(
    "GET",
    "/events/search",
    "Events with the states of their deliveries",
    scope="read",
    answer="EventStatePage",
    parameters=(EVENT_STATE, TEXT, ENDPOINT_FILTER, EVENT_TYPES, CHANNEL, BEFORE, AFTER, LIMIT, EVENT_CURSOR),
    errors=(501,),
)
async def search_events(call: Call[None]) -> Response:
    """Return a page of events with the states of their deliveries, newest first."""
    query = EventSearch(
        tenant=call.tenant,
        event_types=call[EVENT_TYPES],
        channel=call[CHANNEL],
        endpoint_id=call[ENDPOINT_FILTER],
        state=call[EVENT_STATE],
        text=call[TEXT],
        limit=call[LIMIT],
        cursor=call[EVENT_CURSOR],
        before=call[BEFORE],
        after=call[AFTER],
    )
    # Such a page may look at thousands of events.
    call.charge((_SEARCHED if query.is_narrow else 0) + call[LIMIT] // _ROWS_PER_CALL)
    page = await call.services.backend.search_events(query)
    events = [event.document() for event in page.items]
    return json_response({"events": events, "nextCursor": page.next_cursor, "done": page.done})


@operation(
    "GET",
    "/events/{id}/deliveries",
    "The delivery of an event to each endpoint",
    scope="read",
    answer="EventDeliveryPage",
    parameters=(EVENT_ID, LIMIT, ENDPOINT_CURSOR),
    errors=(501,),
)
async def list_event_deliveries(call: Call[None]) -> Response:
    """Return a page of endpoints, newest first, each with the state of its delivery or why there is none."""
    call.charge(call[LIMIT] // _ROWS_PER_CALL)
    page = await call.services.backend.event_deliveries(
        call.tenant, call[EVENT_ID], limit=call[LIMIT], cursor=call[ENDPOINT_CURSOR]
    )
    if page is None:
        raise NotFound("There is no such event.")
    deliveries = [delivery.document(whole_url=call.writes) for delivery in page.items]
    return json_response({"deliveries": deliveries, "nextCursor": page.next_cursor, "done": page.done})
