"""Manages a tenant's endpoints: the rules of the routes and of `webhooks.endpoints(tenant)`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from starlette_webhooks.attempts import Attempt, AttemptQuery
from starlette_webhooks.audit import CODE, Action, Actor, record
from starlette_webhooks.backends.base import Backend
from starlette_webhooks.bodies import EndpointChange, EndpointCreation, EventTest, Recovery, Rotation, check_body
from starlette_webhooks.delivery.origins import shown_origin
from starlette_webhooks.endpoints import SECRET_OVERLAP, UNSET, Endpoint, EndpointStats, Unset
from starlette_webhooks.event_type_names import check_in_catalog, describe_unknown
from starlette_webhooks.event_types import RESERVED, EventType, EventTypes
from starlette_webhooks.events import Event
from starlette_webhooks.exceptions import EventTooLarge, InvalidBody, InvalidEvent, InvalidRequest, NotFound
from starlette_webhooks.pagination import Page, check_limit
from starlette_webhooks.payloads import make_event

__all__ = ["TenantEndpoints", "invalid_event", "type_and_data"]

T = TypeVar("T")

_LONGEST_STATS = timedelta(days=31)


class TenantEndpoints:
    """The endpoints of a tenant. `webhooks.endpoints(tenant)` returns this, and the routes use it too.

    Every method raises `NotRunning` outside the lifespan of `Webhooks`, and `BackendError` if the backend fails.
    Methods with an endpoint's id raise `NotFound` if the tenant has no such endpoint.
    """

    def __init__(
        self,
        backend: Backend,
        event_types: EventTypes,
        tenant: str,
        *,
        max_event_bytes: int,
        actor: Actor = CODE,
        charge: Callable[[int], None] | None = None,
    ) -> None:
        self._backend = backend
        self._event_types = event_types
        self._tenant = tenant
        self._max_event_bytes = max_event_bytes
        self._actor = actor
        self._charge = charge

    async def list(self, *, limit: int = 50, cursor: str | None = None) -> Page[Endpoint]:
        """Return a page of endpoints, newest first.

        Args:
            limit: The size of the page: 1 to 250.
            cursor: `next_cursor` of the previous page.

        Raises:
            InvalidRequest: The limit or the cursor is not valid.
        """
        check_limit(limit)
        return await self._backend.list_endpoints(self._tenant, limit=limit, cursor=cursor)

    async def get(self, id: str) -> Endpoint:
        """Return one endpoint."""
        return _found(await self._backend.get_endpoint(self._tenant, id))

    async def create(
        self,
        url: str,
        *,
        description: str | Unset = UNSET,
        event_types: Iterable[str] | Unset = UNSET,
        channels: Iterable[str] | Unset = UNSET,
        disabled: bool | Unset = UNSET,
        rate_limit: int | None | Unset = UNSET,
        metadata: Mapping[str, str] | Unset = UNSET,
        headers: Mapping[str, str] | Unset = UNSET,
        secret: str | Unset = UNSET,
    ) -> Endpoint:
        """Create an endpoint.

        Args:
            url: Where to deliver: `http:` or `https:`, with a public address.
            description: A note for people.
            event_types: The types that it receives. All by default.
            channels: The channels that it receives. All by default.
            disabled: Whether it starts disabled.
            rate_limit: The maximum of deliveries per second. None, the default, means no limit.
            metadata: Strings of your own.
            headers: Sent with each delivery.
            secret: `whsec_` and 24 to 64 bytes in base64. Random by default.

        Raises:
            InvalidBody: An argument is not valid. The message names the field.
            Conflict: The tenant has reached the limit of endpoints.
        """
        fields = _fields(description, event_types, channels, disabled, rate_limit, metadata, headers)
        given = {**fields, "url": url} if isinstance(secret, Unset) else {**fields, "url": url, "secret": secret}
        return await self.create_from(check_body(EndpointCreation, given))

    async def create_from(self, body: EndpointCreation) -> Endpoint:
        """Like `create`, from the body of a request."""
        changes = body.changes()
        check_in_catalog(body.event_types, self._event_types, error=InvalidBody)
        endpoint = await self._backend.create_endpoint(self._tenant, changes)
        self._record("endpoint.created", endpoint.id, origin=shown_origin(endpoint.url))
        return endpoint

    async def update(
        self,
        id: str,
        *,
        url: str | Unset = UNSET,
        description: str | Unset = UNSET,
        event_types: Iterable[str] | Unset = UNSET,
        channels: Iterable[str] | Unset = UNSET,
        disabled: bool | Unset = UNSET,
        rate_limit: int | None | Unset = UNSET,
        metadata: Mapping[str, str] | Unset = UNSET,
        headers: Mapping[str, str] | Unset = UNSET,
    ) -> Endpoint:
        """Change the given fields, which are those of `create`, and return the endpoint.

        If the URL moves to another scheme, host or port, the custom headers are removed unless you pass new ones.

        Raises:
            InvalidBody: An argument is not valid. The message names the field.
        """
        fields = _fields(description, event_types, channels, disabled, rate_limit, metadata, headers)
        given = fields if isinstance(url, Unset) else {**fields, "url": url}
        return await self.update_from(id, check_body(EndpointChange, given))

    async def update_from(self, id: str, body: EndpointChange) -> Endpoint:
        """Like `update`, from the body of a request."""
        if any(name not in self._event_types for name in body.event_types):
            # An endpoint can keep types that were removed from the catalog since.
            retired = (await self.get(id)).event_types
            check_in_catalog(body.event_types, self._event_types, retired=retired, error=InvalidBody)
        changes = body.changes()
        endpoint = _found(await self._backend.update_endpoint(self._tenant, id, changes))
        self._record("endpoint.changed", id, origin=shown_origin(endpoint.url), fields=sorted(changes.given()))
        return endpoint

    async def delete(self, id: str) -> None:
        """Delete an endpoint with its attempts and pending deliveries."""
        if not await self._backend.delete_endpoint(self._tenant, id):
            raise _no_endpoint()
        self._record("endpoint.deleted", id)

    def _record(self, action: Action, endpoint: str, **details: str | Sequence[str]) -> None:
        record(action, self._tenant, self._actor, endpoint=endpoint, **details)

    async def secret(self, id: str) -> str:
        """Return the secret that signs deliveries: `whsec_...`."""
        secret = _found(await self._backend.get_secret(self._tenant, id))
        self._record("secret.read", id)
        return secret

    async def rotate(self, id: str, key: str | None = None, *, overlap: int = SECRET_OVERLAP) -> str:
        """Replace the secret of an endpoint, and return the new one.

        Args:
            key: The new secret. Random by default.
            overlap: Seconds that the old secret stays valid, one day by default and seven days at most. 0 ends it at
                once, for a secret that has leaked.

        Raises:
            InvalidBody: The key is not a valid secret, or the overlap is too long.
            Conflict: The endpoint already has this secret, or was rotated too often in a short time.
        """
        body = check_body(Rotation, {"overlap": overlap} if key is None else {"key": key, "overlap": overlap})
        return await self.rotate_from(id, body)

    async def rotate_from(self, id: str, body: Rotation) -> str:
        """Like `rotate`, from the body of a request."""
        secret = _found(await self._backend.rotate_secret(self._tenant, id, body.key, overlap=body.overlap))
        self._record("secret.rotated", id)
        return secret

    async def test(self, id: str, event_type: str = "test.ping", data: Mapping[str, Any] | None = None) -> Event:
        """Send a test event to this endpoint only, ignoring its filters.

        Args:
            data: The data of the event. By default, the example of its type.

        Raises:
            InvalidBody: There is no such event type, or `data` does not match its schema.
            Conflict: The endpoint is disabled.
        """
        given = {"eventType": event_type} if data is None else {"eventType": event_type, "data": dict(data)}
        return await self.test_from(id, check_body(EventTest, given))

    async def test_from(self, id: str, body: EventTest) -> Event:
        """Like `test`, from the body of a request."""
        event_type, data = type_and_data(self._event_types, body)
        try:
            event = make_event(
                event_type.name,
                event_type.encode(data),
                tenant=self._tenant,
                max_bytes=self._max_event_bytes,
                mint_id=self._backend.mints_ids,
                milliseconds=self._backend.event_time(),
                test=True,
            )
        except InvalidEvent as exc:
            raise invalid_event(exc, self._max_event_bytes) from exc
        if self._charge is not None:
            self._charge(len(event.payload))
        return _found(await self._backend.test_endpoint(self._tenant, id, event))

    async def recover(self, id: str, since: datetime, until: datetime | None = None, *, missing: bool = False) -> int:
        """Deliver again what failed between two times, and return the number of deliveries.

        Args:
            since: The start, with a time zone.
            until: The end, with a time zone. By default, now.
            missing: Also deliver what was never attempted, such as events from before the endpoint was created.

        Raises:
            InvalidBody: A time has no offset from UTC, or `since` is not before `until`.
            Conflict: Another recovery of the endpoint is running.
        """
        return await self.recover_from(id, check_body(Recovery, {"since": since, "until": until, "missing": missing}))

    async def recover_from(self, id: str, body: Recovery) -> int:
        """Like `recover`, from the body of a request."""
        body.check_order()
        return _found(await self._backend.recover(self._tenant, id, body.since, body.until, missing=body.missing))

    async def attempts(self, id: str, query: AttemptQuery) -> Page[Attempt]:
        """Return attempts to deliver to this endpoint, newest first."""
        await self.get(id)
        return await self._backend.list_attempts(self._tenant, query)

    async def stats(self, id: str, since: datetime | None, until: datetime | None, *, now: float) -> EndpointStats:
        """Return statistics of the attempts, for the last 24 hours or a window of up to 31 days."""
        until = until or datetime.fromtimestamp(now, UTC)
        since = since or until - timedelta(days=1)
        if not timedelta() < until - since <= _LONGEST_STATS:
            raise InvalidRequest("`since` must be before `until`, by at most 31 days.", code="invalid_time")
        return _found(await self._backend.endpoint_stats(self._tenant, id, since, until))


def type_and_data(catalog: EventTypes, body: EventTest) -> tuple[EventType, dict[str, Any]]:
    """The type of a test event, and its data: the example of the type if none were sent.

    Raises:
        InvalidBody: There is no such event type.
    """
    event_type = catalog.get(body.event_type)
    if event_type is None:
        raise InvalidBody(describe_unknown(catalog, body.event_type), code="unknown_event_type")
    if event_type.name in RESERVED:
        raise InvalidBody(f"`{event_type.name}` is for real events only. Test with another type.", code="reserved_type")
    return event_type, (event_type.example or {}) if body.data is None else body.data


def invalid_event(error: InvalidEvent, max_event_bytes: int) -> InvalidBody:
    """Return the error for an event that cannot be emitted, for customers: it does not name settings of the host."""
    detail = str(error)
    if isinstance(error, EventTooLarge):
        detail = f"The event has more than {max_event_bytes} bytes. Send less `data`."
    return InvalidBody(detail, code="invalid_event")


def _fields(
    description: str | Unset,
    event_types: Iterable[str] | Unset,
    channels: Iterable[str] | Unset,
    disabled: bool | Unset,
    rate_limit: int | None | Unset,
    metadata: Mapping[str, str] | Unset,
    headers: Mapping[str, str] | Unset,
) -> dict[str, Any]:
    """Return the given arguments as the fields of a body."""
    fields = {
        "description": description,
        "eventTypes": event_types if isinstance(event_types, (Unset, str)) else list(event_types),
        "channels": channels if isinstance(channels, (Unset, str)) else list(channels),
        "disabled": disabled,
        "rateLimit": rate_limit,
        "metadata": metadata if isinstance(metadata, Unset) else dict(metadata),
        "headers": headers if isinstance(headers, Unset) else dict(headers),
    }
    return {name: value for name, value in fields.items() if not isinstance(value, Unset)}


def _no_endpoint() -> NotFound:
    return NotFound("There is no such endpoint.")


def _found(value: T | None) -> T:
    if value is None:
        raise _no_endpoint()
    return value
