"""Forwards an event to Svix exactly once, also after earlier failures."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from starlette_webhooks.backends.svix.errors import Missing, SvixRefused, SvixUnavailable
from starlette_webhooks.backends.svix.mapping import event_from, message_in
from starlette_webhooks.events import Event
from starlette_webhooks.payloads import is_implied_event_id
from starlette_webhooks.relay.forward import Accepted, ForwardingFailed, ForwardingRefused

if TYPE_CHECKING:
    from svix.api import MessageOut, SvixAsync

    from starlette_webhooks.backends.svix.applications import Applications
    from starlette_webhooks.backends.svix.client import SvixClient
    from starlette_webhooks.backends.svix.messages import Messages

__all__ = ["SvixForwarding"]

_CHECK_AFTER = 60.0
_CLOCKS_APART = 60.0


def _idempotency_key(event: Event) -> str:
    # For a known key, Svix repeats its first response, whatever the body says now: it would seem to have taken this
    # event when it has another one of the same `event_id`. Only a minted id belongs to one body.
    if is_implied_event_id(event.event_id):
        return event.event_id
    digest = hashlib.sha256(b"\n".join((event.type.encode(), ",".join(event.channels).encode(), event.payload)))
    return f"{event.event_id}.{digest.hexdigest()[:16]}"


class SvixForwarding:
    """Forwards events to Svix, for the relay, which retries itself, and for `send`, whose caller waits.

    Args:
        publish: Called with each event that Svix accepted from this process.
    """

    def __init__(
        self, client: SvixClient, applications: Applications, messages: Messages, publish: Callable[[Event], None]
    ) -> None:
        self._client = client
        self._applications = applications
        self._messages = messages
        self._publish = publish

    async def __call__(self, event: Event) -> Accepted:
        """See `Forward`."""
        try:
            with self._client.for_relay():
                return await self._give(event, self._client.sdk_once)
        except SvixUnavailable as exc:
            raise ForwardingFailed(str(exc), everywhere=exc.everywhere, retry_after=exc.retry_after) from exc
        except SvixRefused as exc:
            if exc.permanent:
                raise ForwardingRefused(str(exc), code=exc.code, detail=exc.detail) from exc
            raise ForwardingFailed(str(exc)) from exc

    async def patiently(self, event: Event) -> Accepted:
        """Forward an event for a waiting caller, with a few retries.

        Raises:
            SvixUnavailable: Svix may or may not have the event. Forward it again.
            SvixRefused: Svix does not have the event.
        """
        return await self._give(event, self._client.sdk)

    async def _give(self, event: Event, sdk: SvixAsync) -> Accepted:
        try:
            message = await self._create(event, sdk)
        except SvixRefused as exc:
            if exc.status != 409:
                raise
            return await self._existing(event)
        created = event_from(message, event.tenant)
        # Svix was asked not to return the payload.
        accepted = Event(
            created.id, event.tenant, event.type, event.payload, created.timestamp, event.event_id, event.channels
        )
        self._publish(accepted)
        return Accepted(accepted)

    async def _create(self, event: Event, sdk: SvixAsync) -> MessageOut:
        from svix.api import MessageCreateOptions

        options = MessageCreateOptions(with_content=False, idempotency_key=_idempotency_key(event))
        uid = await self._applications.ensure(event.tenant)
        try:
            return await self._client.call(sdk.message.create, uid, message_in(event), options)
        except Missing:
            # The application was deleted at Svix.
            self._applications.forget(event.tenant)
            uid = await self._applications.ensure(event.tenant)
            return await self._client.call(sdk.message.create, uid, message_in(event), options)

    async def _existing(self, event: Event) -> Accepted:
        first = await self._messages.get(event.tenant, event.event_id)
        if first is None:
            return Accepted(event)
        check_at = None
        if first.timestamp.timestamp() > event.timestamp.timestamp() - _CLOCKS_APART:
            # An earlier call created it. Svix stores a message before it queues it. If queueing failed, or the
            # process was killed between the two, nothing would ever deliver it.
            check_at = self._client.now() + _CHECK_AFTER
            self._publish(first)
        return Accepted(first, check_at)
