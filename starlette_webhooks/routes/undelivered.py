"""The routes of undelivered deliveries: what no endpoint has confirmed, and its retry."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from starlette.responses import Response

from starlette_webhooks.bodies import UndeliveredRetry
from starlette_webhooks.event_type_names import check_in_log
from starlette_webhooks.exceptions import Conflict, InvalidBody
from starlette_webhooks.routes.messages import json_response, while_connected
from starlette_webhooks.routes.operations import Call, operation, operation_with_body
from starlette_webhooks.routes.parameters import (
    AFTER,
    BEFORE,
    ENDPOINT_FILTER,
    EVENT_TYPES,
    LIMIT,
    STATE,
    STATUS_CODE_CLASS,
    UNDELIVERED_CURSOR,
)
from starlette_webhooks.undelivered import Retried, UndeliveredQuery

__all__ = ["list_undelivered", "retry_undelivered"]

_NAMED_PER_CALL = 10
# A list may look at thousands of deliveries, and at each endpoint of the tenant.
_LIST = 9
_MOST = 10_000
"""The maximum of deliveries that one call retries."""


@operation(
    "GET",
    "/undelivered",
    "Deliveries that no endpoint has confirmed",
    scope="read",
    answer="UndeliveredPage",
    parameters=(
        ENDPOINT_FILTER,
        STATE,
        EVENT_TYPES,
        STATUS_CODE_CLASS,
        BEFORE,
        AFTER,
        LIMIT,
        UNDELIVERED_CURSOR,
    ),
    errors=(501,),
)
async def list_undelivered(call: Call[None]) -> Response:
    """Return a page of undelivered deliveries, over all endpoints of the tenant."""
    call.charge(_LIST)
    state = call[STATE]
    query = UndeliveredQuery(
        tenant=call.tenant,
        endpoint_id=call[ENDPOINT_FILTER],
        event_types=call[EVENT_TYPES],
        states=() if state is None else (state,),
        status_code_class=call[STATUS_CODE_CLASS],
        before=call[BEFORE],
        after=call[AFTER],
        limit=call[LIMIT],
        cursor=call[UNDELIVERED_CURSOR],
    )
    page = await call.services.backend.find_undelivered(query)
    items = [one.document(whole_url=call.writes) for one in page.items]
    return json_response({"undelivered": items, "nextCursor": page.next_cursor, "done": page.done})


@operation_with_body(
    "POST",
    "/undelivered/retry",
    "Retry undelivered deliveries",
    UndeliveredRetry,
    scope="write",
    answer="Retried",
    status=202,
    errors=(409, 501),
)
async def retry_undelivered(call: Call[UndeliveredRetry]) -> Response:
    """Count the deliveries that a filter matches, and retry them. Ends early if the client goes away."""
    services, body = call.services, call.body
    named = body.named()
    if named is not None:
        return await _retry_named(call, named)
    types = tuple(dict.fromkeys(body.event_types))
    await check_in_log(
        types, services.event_types_of(call.tenant), backend=services.backend, tenant=call.tenant, error=InvalidBody
    )
    query = UndeliveredQuery(
        tenant=call.tenant,
        endpoint_id=body.endpoint,
        event_types=types,
        states=tuple(dict.fromkeys(body.states)) or ("exhausted", "failing"),
        status_code_class=body.status_code_class,
        before=body.before,
        after=body.after,
    )
    call.charge(_LIST)
    async with services.scans.of(call.tenant):
        count = await while_connected(call.request, partial(services.backend.count_undelivered, query, most=_MOST))
    done = Retried()
    if not body.count_only:
        if not count.exact:
            raise Conflict(
                f"More than {_MOST} deliveries match. Retry one endpoint or a shorter time at a time.",
                code="too_many_deliveries",
            )
        done = await _retry(call, query)
    document = {"matching": count.count, "exact": count.exact, "queued": done.queued, "disabled": done.disabled}
    return json_response(document, 202)


async def _retry_named(call: Call[UndeliveredRetry], named: Sequence[tuple[str, str]]) -> Response:
    call.charge(len(named) // _NAMED_PER_CALL)
    backend = call.services.backend
    found = await backend.find_deliveries(call.tenant, named)
    done = Retried() if call.body.count_only else await backend.retry_deliveries(found)
    return json_response({"matching": len(found), "exact": True, "queued": done.queued, "disabled": done.disabled}, 202)


async def _retry(call: Call[UndeliveredRetry], query: UndeliveredQuery) -> Retried:
    running = call.services.retries
    if call.tenant in running:
        raise Conflict("A retry is running. Wait until it has ended.", code="retry_running")
    running.add(call.tenant)
    try:
        return await while_connected(call.request, partial(call.services.backend.retry_undelivered, query))
    finally:
        running.discard(call.tenant)
