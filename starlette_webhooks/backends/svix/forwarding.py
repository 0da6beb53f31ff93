"""Handing one event over to Svix, so that it is there once, whatever happened before."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette_webhooks.backends.svix.errors import Missing, SvixRefused
from starlette_webhooks.backends.svix.mapping import event_from, is_minted, message_in
from starlette_webhooks.events import Event

if TYPE_CHECKING:
    from svix.api import MessageOut, SvixAsync

    from starlette_webhooks.backends.svix.applications import Applications
    from starlette_webhooks.backends.svix.client import SvixClient
    from starlette_webhooks.backends.svix.messages import Messages

__all__ = ["Accepted", "Handover"]

DOUBT_AFTER = 60.0
_CLOCKS_APART = 60.0


@dataclass(frozen=True, slots=True)
class Accepted:
    """An event that Svix has.

    Attributes:
        event: As Svix has it. Its `id` is empty where Svix has it and does not show it any more.
        check_at: When to see whether Svix delivers it, or None where there is no doubt.
    """

    event: Event
    check_at: float | None = None


def _idempotency_key(event: Event) -> str:
    # Svix answers a known key as it did the first time, whatever the body says now: it would seem to have taken this
    # event where it has another one of the same `event_id`. Only an id that was minted stands for one body.
    if is_minted(event.event_id):
        return event.event_id
    digest = hashlib.sha256(b"\n".join((event.type.encode(), ",".join(event.channels).encode(), event.payload)))
    return f"{event.event_id}.{digest.hexdigest()[:16]}"


class Handover:
    """Gives events to Svix.

    Args:
        publish: Is told of each event that Svix took from this process.
    """

    def __init__(
        self, client: SvixClient, applications: Applications, messages: Messages, publish: Callable[[Event], None]
    ) -> None:
        self._client = client
        self._applications = applications
        self._messages = messages
        self._publish = publish

    async def __call__(self, event: Event, *, patient: bool) -> Accepted:
        """Hand it over.

        Args:
            patient: Whether the SDK tries again a little by itself.

        Raises:
            SvixUnavailable: Svix may or may not have it; hand it over again.
            SvixRefused: Svix does not have it.
        """
        sdk = self._client.sdk if patient else self._client.sdk_once
        try:
            message = await self._create(event, sdk)
        except SvixRefused as exc:
            if exc.status != 409:
                raise
            return await self._existing(event)
        accepted = event_from(message, event.tenant)
        # Svix was not asked to send the payload back.
        accepted = Event(
            accepted.id, event.tenant, event.type, event.payload, accepted.timestamp, event.event_id, event.channels
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
            # A try before this one put it there. Svix stores a message before it queues it, and where queueing failed,
            # or the process was killed between the two, nothing would ever deliver it.
            check_at = self._client.now() + DOUBT_AFTER
            self._publish(first)
        return Accepted(first, check_at)
