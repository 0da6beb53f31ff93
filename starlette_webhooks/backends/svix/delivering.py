"""Redelivers at Svix: resend, recover, test, and the rescue of messages that were not queued."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from starlette_webhooks.backends.svix.applications import application_uid
from starlette_webhooks.backends.svix.endpoints import as_customers_fault
from starlette_webhooks.backends.svix.errors import Missing, SvixRefused
from starlette_webhooks.backends.svix.mapping import event_from
from starlette_webhooks.backends.svix.messages import id_at, next_window
from starlette_webhooks.concurrency import each
from starlette_webhooks.conflicts import endpoint_disabled
from starlette_webhooks.events import Event
from starlette_webhooks.exceptions import Conflict
from starlette_webhooks.identifiers import is_message_id, timestamp_ms
from starlette_webhooks.log_fields import log_fields

if TYPE_CHECKING:
    from svix.api import EndpointOut, MessageOut

    from starlette_webhooks.backends.svix.client import SvixClient
    from starlette_webhooks.backends.svix.endpoints import Endpoints
    from starlette_webhooks.backends.svix.messages import Messages

__all__ = ["Delivering"]

logger = logging.getLogger("starlette_webhooks")

_PAGE = 250
_RECOVER_DAYS = timedelta(days=14)
_MOST_MESSAGES = 10_000
# A newer message may still wait for its first attempt.
_SETTLED = 60.0
_AHEAD = timedelta(seconds=30)


def wants(endpoint: EndpointOut, event: Event) -> bool:
    """Return whether Svix delivers such an event to the endpoint automatically."""
    if endpoint.event_types and event.type not in endpoint.event_types:
        return False
    return not endpoint.channels or not set(endpoint.channels).isdisjoint(event.channels)


class Delivering:
    """Makes Svix deliver again."""

    def __init__(self, client: SvixClient, endpoints: Endpoints, messages: Messages) -> None:
        self._client = client
        self._endpoints = endpoints
        self._messages = messages

    async def resend(self, tenant: str, message_id: str, endpoint_id: str) -> bool:
        """See `Backend.resend`. At Svix, it replaces the remaining automatic attempts."""
        if not is_message_id(message_id) or await self._enabled(tenant, endpoint_id) is None:
            return False
        return await self._resend(tenant, message_id, endpoint_id)

    async def _enabled(self, tenant: str, endpoint_id: str) -> EndpointOut | None:
        endpoint = await self._endpoints.raw(tenant, endpoint_id)
        if endpoint is not None and endpoint.disabled:
            # Svix would accept the call without ever delivering.
            raise endpoint_disabled(endpoint_id)
        return endpoint

    async def _resend(self, tenant: str, message_id: str, endpoint_id: str) -> bool:
        try:
            await self._client.done(
                self._client.sdk.message_attempt.resend, application_uid(tenant), message_id, endpoint_id
            )
        except Missing:
            return False
        except SvixRefused as exc:
            if exc.status == 400:
                raise Conflict(exc.detail or "The payload of the event is no longer stored.") from exc
            raise
        return True

    # Recovering

    async def recover(
        self, tenant: str, endpoint_id: str, since: datetime, until: datetime | None, *, missing: bool
    ) -> int | None:
        """See `Backend.recover`. Svix reaches back 14 days, and does not exceed `until`."""
        from svix.api import RecoverIn

        endpoint = await self._enabled(tenant, endpoint_id)
        if endpoint is None:
            return None
        now = datetime.fromtimestamp(self._client.now(), UTC)
        end = min(until or now, now)
        since = min(max(since, end - _RECOVER_DAYS), end)
        failed = await self._count_failed(tenant, endpoint_id, since, end)
        bounds = {"since": since} if until is None else {"since": since, "until": end}
        try:
            with as_customers_fault():
                await self._client.done(
                    self._client.sdk.endpoint.recover, application_uid(tenant), endpoint_id, RecoverIn(**bounds)
                )
        except Missing:
            return None
        return failed + (await self._resend_missing(tenant, endpoint, since, end) if missing else 0)

    async def _count_failed(self, tenant: str, endpoint_id: str, since: datetime, until: datetime) -> int:
        count = 0
        for status in (2, 3):
            async for _ in self._attempted(tenant, endpoint_id, since, until, status):
                count += 1
        return count

    async def _attempted(
        self, tenant: str, endpoint_id: str, since: datetime, until: datetime, status: int | None
    ) -> AsyncIterator[str]:
        from svix.api import MessageAttemptListAttemptedMessagesOptions, MessageStatus

        cursor: str | None = None
        read = 0
        while read < _MOST_MESSAGES:
            options = MessageAttemptListAttemptedMessagesOptions(
                limit=_PAGE,
                iterator=cursor,
                status=None if status is None else MessageStatus(status),
                before=until + _AHEAD,
                after=since,
            )
            page = await self._client.call(
                self._client.sdk.message_attempt.list_attempted_messages, application_uid(tenant), endpoint_id, options
            )
            for message in page.data:
                yield message.id
            read += len(page.data)
            if page.done or not page.data:
                return
            cursor = page.data[-1].id

    async def _resend_missing(self, tenant: str, endpoint: EndpointOut, since: datetime, until: datetime) -> int:
        # Only the cloud has an API for this.
        tried = {id async for id in self._attempted(tenant, endpoint.id, since, until, None)}
        last = id_at(min(until.timestamp(), self._client.now() - _SETTLED))
        cursor: str | None = id_at(since.timestamp())
        untried: list[str] = []
        while cursor is not None and len(untried) < _MOST_MESSAGES:
            page = await self._messages.upwards(tenant, cursor, content=False)
            missed = [
                event for event in page.events if event.id < last and event.id not in tried and wants(endpoint, event)
            ]
            # Tests belong to other endpoints. Only their payloads identify them as tests.
            untried += [event.id for event in await self._messages.fill(tenant, cursor, missed) if not event.test]
            if not page.done:
                cursor = page.events[-1].id if page.events[-1].id < last else None
            else:
                cursor = next_window(cursor, self._client.now())

        async def again(identifier: str) -> bool:
            return await self._resend(tenant, identifier, endpoint.id)

        return sum(await each(untried, again))

    # Testing

    async def test(self, tenant: str, endpoint_id: str, event: Event) -> Event | None:
        """See `Backend.test_endpoint`. A self-hosted server sends the type's example instead of the event's data."""
        from svix.api import EventExampleIn

        endpoint = await self._enabled(tenant, endpoint_id)
        if endpoint is None:
            return None
        # The only way to create a message for a single endpoint. Its filters still apply.
        example = EventExampleIn(event_type=event.type)
        if not self._client.self_hosted:
            example = EventExampleIn(event_type=event.type, payload=json.loads(event.payload))
        uid = application_uid(tenant)
        with as_customers_fault():
            message: MessageOut = await self._client.call(
                self._client.sdk.endpoint.send_example, uid, endpoint_id, example
            )
        stored = event_from(message, tenant)
        if not wants(endpoint, stored):
            await self._resend(tenant, stored.id, endpoint_id)
        return await self._messages.get(tenant, stored.id) or stored

    # In doubt

    async def rescue(self, event: Event) -> int:
        """Deliver a message that Svix stored but probably did not queue. Returns how many endpoints missed it."""
        if not event.id:
            return 0
        with self._client.for_relay():
            return await self._rescue(event)

    async def _rescue(self, event: Event) -> int:
        tried = {id async for id in self._destinations(event)}
        stored_at = timestamp_ms(event.id) / 1000
        missed = 0
        async for endpoint in self._endpoints.all(event.tenant):
            fits = not endpoint.disabled and endpoint.created_at.timestamp() <= stored_at and wants(endpoint, event)
            if fits and endpoint.id not in tried and await self._resend(event.tenant, event.id, endpoint.id):
                missed += 1
        if missed:
            logger.warning(
                "Svix had stored the event %s without delivering it. It was sent again.",
                event.event_id,
                extra=log_fields("event.sent_again", tenant=event.tenant, eventId=event.event_id, endpoints=missed),
            )
        return missed

    async def _destinations(self, event: Event) -> AsyncIterator[str]:
        from svix.api import MessageAttemptListAttemptedDestinationsOptions

        cursor: str | None = None
        while True:
            options = MessageAttemptListAttemptedDestinationsOptions(limit=_PAGE, iterator=cursor)
            try:
                page = await self._client.call(
                    self._client.sdk.message_attempt.list_attempted_destinations,
                    application_uid(event.tenant),
                    event.id,
                    options,
                )
            except Missing:
                return
            for endpoint in page.data:
                yield endpoint.id
            if page.done or not page.data:
                return
            cursor = page.data[-1].id
