"""Reads attempts from Svix."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from starlette_webhooks.attempts import Attempt, AttemptQuery
from starlette_webhooks.backends.svix.applications import application_uid
from starlette_webhooks.backends.svix.errors import Missing
from starlette_webhooks.backends.svix.mapping import attempt_from, check_iterator, is_endpoint_id
from starlette_webhooks.concurrency import each
from starlette_webhooks.exceptions import InvalidRequest
from starlette_webhooks.identifiers import is_message_id
from starlette_webhooks.pagination import Page

if TYPE_CHECKING:
    from svix.api import ListResponseMessageAttemptOut, MessageAttemptOut

    from starlette_webhooks.backends.svix.client import SvixClient
    from starlette_webhooks.backends.svix.messages import Messages

__all__ = ["Attempts"]

_PAGE = 250
_KNOWN_TYPES = 20_000
_AHEAD = timedelta(seconds=30)
_SUCCESS, _PENDING, _FAIL, _SENDING = range(4)


class Attempts:
    """The attempts of a message, of an endpoint, or of a message at an endpoint."""

    def __init__(self, client: SvixClient, messages: Messages) -> None:
        self._client = client
        self._messages = messages
        self._known_types: dict[str, str] = {}

    async def find(self, tenant: str, query: AttemptQuery) -> Page[Attempt]:
        """Return a page, newest first. `number` is 0 in lists of an endpoint, because Svix does not count."""
        if query.event_id is None and query.endpoint_id is None:
            raise InvalidRequest(
                "Svix lists the attempts of one endpoint at a time. Name one with `endpoint`.", code="endpoint_required"
            )
        check_iterator(query.cursor, "atmpt_", self_hosted=self._client.self_hosted)
        if query.event_id is not None and not is_message_id(query.event_id):
            return Page([], None, True)
        if query.endpoint_id is not None and not is_endpoint_id(query.endpoint_id):
            return Page([], None, True)
        try:
            found, done = await self._find(tenant, query)
            items = await self._complete(tenant, query, found)
        except Missing:
            return Page([], None, True)
        return Page(items, None if done or not found else found[-1].id, done or not found)

    async def _find(self, tenant: str, query: AttemptQuery) -> tuple[list[MessageAttemptOut], bool]:
        # A failure is "fail" if it was the last attempt, and "sending" if Svix retries.
        statuses: list[int | None] = [None]
        if query.status is not None:
            statuses = [_SUCCESS] if query.status == "success" else [_FAIL, _SENDING]

        async def one(status: int | None) -> ListResponseMessageAttemptOut:
            return await self._page(tenant, query, status)

        pages = await each(statuses, one)
        merged = sorted((out for page in pages for out in page.data), key=lambda out: out.id, reverse=True)
        done = all(page.done for page in pages) and len(merged) <= query.limit
        return merged[: query.limit], done

    async def _page(self, tenant: str, query: AttemptQuery, status: int | None) -> ListResponseMessageAttemptOut:
        from svix.api import (
            MessageAttemptListByEndpointOptions,
            MessageAttemptListByMsgOptions,
            MessageStatus,
            StatusCodeClass,
        )

        sdk = self._client.sdk.message_attempt
        options: dict[str, Any] = {
            "limit": min(query.limit, _PAGE),
            "iterator": query.cursor,
            "status": None if status is None else MessageStatus(status),
            "status_code_class": None
            if query.status_code_class is None
            else StatusCodeClass(query.status_code_class * 100),
            "event_types": list(query.event_types) or None,
            # With only `after`, Svix would start with the oldest.
            "before": query.before or datetime.fromtimestamp(self._client.now(), UTC) + _AHEAD,
            "after": query.after,
            "with_content": True,
        }
        uid = application_uid(tenant)
        if query.event_id is not None:
            by_message = MessageAttemptListByMsgOptions(endpoint_id=query.endpoint_id, **options)
            return await self._client.call(sdk.list_by_msg, uid, query.event_id, by_message)
        assert query.endpoint_id is not None
        by_endpoint = MessageAttemptListByEndpointOptions(with_msg=True, **options)
        return await self._client.call(sdk.list_by_endpoint, uid, query.endpoint_id, by_endpoint)

    async def _complete(self, tenant: str, query: AttemptQuery, found: list[MessageAttemptOut]) -> list[Attempt]:
        found = [out for out in found if int(out.status) != _PENDING]
        types = await self._types(tenant, found)
        numbers: dict[str, int] = {}
        if query.event_id is not None and found:
            numbers = await self._numbers(tenant, query)
        return [attempt_from(out, types.get(out.msg_id, ""), numbers.get(out.id, 0)) for out in found]

    async def _types(self, tenant: str, found: list[MessageAttemptOut]) -> dict[str, str]:
        types = {out.msg_id: out.msg.event_type for out in found if out.msg is not None}
        ids = {out.msg_id for out in found} - types.keys()
        types |= {known: self._known_types[known] for known in ids & self._known_types.keys()}
        missing = sorted(ids - types.keys())

        async def fetch(identifier: str) -> tuple[str, str]:
            event = await self._messages.get(tenant, identifier)
            return identifier, "" if event is None else event.type

        fetched = dict(await each(missing, fetch))
        # Some servers do not return the message with its attempts. Its type never changes, so it is cached.
        if len(self._known_types) > _KNOWN_TYPES:  # pragma: no cover  Needs 20,000 events.
            self._known_types.clear()
        self._known_types |= fetched
        return types | fetched

    async def _numbers(self, tenant: str, query: AttemptQuery) -> dict[str, int]:
        every = AttemptQuery(event_id=query.event_id, endpoint_id=query.endpoint_id, limit=_PAGE)
        attempts: list[MessageAttemptOut] = []
        while True:
            page = await self._page(tenant, every, None)
            attempts += page.data
            if page.done or not page.data:
                break
            every = replace(every, cursor=page.data[-1].id)
        tried: dict[str, int] = {}
        numbers: dict[str, int] = {}
        for out in sorted(attempts, key=lambda out: out.id):
            numbers[out.id] = tried[out.endpoint_id] = tried.get(out.endpoint_id, 0) + 1
        return numbers
