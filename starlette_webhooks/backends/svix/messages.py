"""Reads events from Svix, working around its peculiarities.

`message.list` (server 1.100, `v1/endpoints/message.rs`) reads the last 90 days by default. With only `after`, it scans
upwards and loses all but the oldest page. An iterator `-msg_X` scans upwards from X, for 90 days. Payloads are `{}`
unless requested. One payload that is not an object makes the SDK fail for the whole page. An unknown application is a
404.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from starlette_webhooks.backends.svix.applications import application_uid
from starlette_webhooks.backends.svix.errors import Missing, SvixUnavailable
from starlette_webhooks.backends.svix.mapping import event_from
from starlette_webhooks.concurrency import each
from starlette_webhooks.events import Event, EventQuery
from starlette_webhooks.identifiers import first_id, is_message_id, position_id, timestamp_ms
from starlette_webhooks.pagination import Page, check_cursor
from starlette_webhooks.stores.limits import PAGE_BYTES

if TYPE_CHECKING:
    from svix.api import ListResponseMessageOut, MessageListOptions

    from starlette_webhooks.backends.svix.client import SvixClient

__all__ = ["MAX_PAGE", "MessagePage", "Messages", "fitting", "id_at", "next_window", "position_at"]

MAX_PAGE = 250
_EPOCH = datetime(2014, 5, 14, tzinfo=UTC)
_LONG_AGO = timedelta(days=400)
# One day less than the server reads.
_WINDOW = timedelta(days=89)
_AHEAD = timedelta(seconds=30)
_FEW = 2
# How many messages of unknown size are read at a time.
_UNKNOWN = 50


@dataclass(frozen=True, slots=True)
class MessagePage:
    """A page, oldest first. Payloads are `{}` unless requested."""

    events: Sequence[Event]
    done: bool


class Messages:
    """The messages of applications."""

    def __init__(self, client: SvixClient) -> None:
        self._client = client

    def now(self) -> float:
        """Return the least possible time at Svix, in seconds since the epoch."""
        return self._client.now()

    async def find(self, tenant: str, query: EventQuery) -> Page[Event]:
        """A page, newest first. A page of more than 8 MiB ends early."""
        from svix.api import MessageListOptions

        check_cursor(query.cursor, is_message_id)
        before = query.before or datetime.fromtimestamp(self.now(), UTC) + _AHEAD
        after = query.after
        if after is None:
            # Without a bound, the server reads only 90 days. With a rare type, it reads all of them.
            after = before - _LONG_AGO if query.event_types or query.channel else _EPOCH
        options = MessageListOptions(
            limit=min(query.limit, _UNKNOWN),
            iterator=query.cursor,
            channel=query.channel,
            before=before,
            after=after,
            event_types=list(query.event_types) or None,
            with_content=True,
        )
        events: list[Event] = []
        while True:
            try:
                out, found = await self._list(tenant, options)
            except Missing:
                return Page([], None, True)
            events += found
            if out.done or not found:
                return Page(events, None, True)
            left = min(query.limit - len(events), fitting(events, PAGE_BYTES) - len(events))
            if left <= 0:
                return Page(events, events[-1].id, False)
            options = replace(options, limit=left, iterator=events[-1].id)

    async def _list(self, tenant: str, options: MessageListOptions) -> tuple[ListResponseMessageOut, list[Event]]:
        listing = self._client.sdk.message.list
        try:
            out = await self._client.call(listing, application_uid(tenant), options)
        except SvixUnavailable as exc:
            if not exc.unexpected:
                raise
        else:
            return out, [event_from(message, tenant) for message in out.data]
        # One payload is not a JSON object. The page is readable without payloads, which are then read one by one.
        out = await self._client.call(listing, application_uid(tenant), replace(options, with_content=False))
        events = [event_from(message, tenant) for message in out.data]
        found = await self._singly(tenant, [event.id for event in events])
        return out, [found.get(event.id, event) for event in events]

    async def get(self, tenant: str, identifier: str) -> Event | None:
        """Return an event by its public id or its `event_id`. The caller has checked that it is safe in a path."""
        from svix.api import MessageGetOptions

        try:
            message = await self._client.call(
                self._client.sdk.message.get, application_uid(tenant), identifier, MessageGetOptions(with_content=True)
            )
        except Missing:
            return None
        return event_from(message, tenant)

    async def upwards(self, tenant: str, after: str, *, content: bool, limit: int = MAX_PAGE) -> MessagePage:
        """Return the messages after an id, oldest first, within 90 days of it. The id need not exist."""
        from svix.api import MessageListOptions

        options = MessageListOptions(limit=limit, iterator=f"-{after}", with_content=content)
        try:
            out = await self._client.call(self._client.sdk.message.list, application_uid(tenant), options)
        except Missing:
            return MessagePage([], True)
        events = [event_from(message, tenant) for message in reversed(out.data)]
        return MessagePage(events, out.done or not events)

    async def fill(self, tenant: str, after: str, events: Sequence[Event]) -> Sequence[Event]:
        """Return events of the page that `upwards` returned after an id, with their payloads."""
        found: dict[str, Event] = {}
        if len(events) > _FEW:
            try:
                page = await self.upwards(tenant, after, content=True)
            except SvixUnavailable as exc:
                if not exc.unexpected:
                    raise
            else:
                found = {event.id: event for event in page.events}
        found |= await self._singly(tenant, [event.id for event in events if event.id not in found])
        return [found.get(event.id, event) for event in events]

    async def _singly(self, tenant: str, ids: Sequence[str]) -> dict[str, Event]:
        async def fetch(identifier: str) -> Event | None:
            try:
                return await self.get(tenant, identifier)
            except SvixUnavailable as exc:
                if not exc.unexpected:
                    raise
                return None

        return {event.id: event for event in await each(ids, fetch) if event is not None}

    async def oldest(self, tenant: str) -> str | None:
        """Return the id of the oldest event of the last 400 days that Svix lists."""
        cursor: str | None = id_at(self.now() - _LONG_AGO.total_seconds())
        while cursor is not None:
            page = await self.upwards(tenant, cursor, content=False, limit=1)
            if page.events:
                return page.events[0].id
            cursor = next_window(cursor, self.now())
        return None


def fitting(events: Sequence[Event], size: int) -> int:
    """Return how many messages have this size in all, if they are like these."""
    return min(max(size * len(events) // sum(len(event.payload) for event in events), 1), MAX_PAGE)


def next_window(cursor: str, now: float) -> str | None:
    """Return where to continue if there is nothing within 90 days of an id, or None if that is in the future."""
    later = timestamp_ms(cursor) / 1000 + _WINDOW.total_seconds()
    return id_at(later) if later < now else None


def id_at(seconds: float) -> str:
    """Return the lowest id of that time."""
    return first_id("msg_", int(seconds * 1000))


def position_at(seconds: float) -> str:
    """Return what a stream resumes after that started at that time, and has no event yet."""
    return position_id(int(seconds * 1000))
