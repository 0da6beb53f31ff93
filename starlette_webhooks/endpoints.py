"""Endpoints, their changes, and their statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from starlette_webhooks.events import format_time

__all__ = [
    "SECRET_OVERLAP",
    "UNSET",
    "Endpoint",
    "EndpointChanges",
    "EndpointStats",
    "Unset",
    "without_query",
]

T = TypeVar("T")

SECRET_OVERLAP = 86_400
"""Seconds that a secret stays valid after its rotation, unless the caller chooses otherwise."""


class Unset:
    """The type of `UNSET`, which marks a field that a change leaves as it is."""

    def __repr__(self) -> str:
        return "UNSET"

    def __bool__(self) -> bool:
        return False


UNSET = Unset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A URL of a customer that events are delivered to.

    Attributes:
        id: `ep_` and a KSUID.
        tenant: The tenant that it belongs to.
        url: Where events are delivered.
        description: A note for people.
        event_types: The names of the event types that it receives. Empty means all.
        channels: The channels that it receives. Empty means all. Events without any of them are not delivered.
        disabled: Whether it gets no deliveries.
        disabled_reason: Why it was disabled: `gone` (410), `failing` (for days) or `manual`. None while enabled.
        rate_limit: Deliveries per second at most, or None.
        metadata: Strings of the customer or the host.
        headers: Sent with each delivery. The values may be secret.
        created_at: When it was created, in UTC.
        updated_at: When it was last changed, in UTC.
    """

    id: str
    tenant: str
    # Some receivers have a secret in their URL.
    url: str = field(repr=False)
    description: str = ""
    event_types: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    disabled: bool = False
    disabled_reason: str | None = None
    rate_limit: int | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    created_at: datetime
    updated_at: datetime

    def document(self, *, whole_url: bool = True) -> dict[str, Any]:
        """Return the endpoint as the routes show it, with the names of its headers but without their values.

        Args:
            whole_url: False for those who may only read: they see the URL without its query.
        """
        return {
            "id": self.id,
            "url": self.url if whole_url else without_query(self.url),
            "description": self.description,
            "eventTypes": list(self.event_types),
            "channels": list(self.channels),
            "disabled": self.disabled,
            "disabledReason": self.disabled_reason,
            "rateLimit": self.rate_limit,
            "metadata": dict(self.metadata),
            "headers": sorted(self.headers),
            "createdAt": format_time(self.created_at),
            "updatedAt": format_time(self.updated_at),
        }


def without_query(url: str) -> str:
    """A URL without its query, which may hold a token, for those who may only read."""
    return url.partition("?")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointChanges:
    """The fields of a new endpoint, or of a change to one. `UNSET` leaves a field or its default unchanged."""

    url: str | Unset = field(default=UNSET, repr=False)
    description: str | Unset = UNSET
    event_types: tuple[str, ...] | Unset = UNSET
    channels: tuple[str, ...] | Unset = UNSET
    disabled: bool | Unset = UNSET
    rate_limit: int | None | Unset = UNSET
    metadata: Mapping[str, str] | Unset = UNSET
    headers: Mapping[str, str] | Unset = field(default=UNSET, repr=False)
    secret: str | Unset = field(default=UNSET, repr=False)
    """The secret (`whsec_...`) of a new endpoint."""

    def given(self) -> dict[str, Any]:
        """Return the given fields by name."""
        values = ((name, getattr(self, name)) for name in self.__slots__)
        return {name: value for name, value in values if value is not UNSET}


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointStats:
    """Statistics of the attempts to an endpoint.

    Attributes:
        success, fail: Attempts in the window.
        pending: Deliveries that currently wait for an attempt.
        buckets: One entry per hour, oldest first: (start, successes, failures). Hours without attempts are left out.
    """

    success: int
    fail: int
    pending: int
    since: datetime
    until: datetime
    buckets: Sequence[tuple[datetime, int, int]] = ()

    def document(self) -> dict[str, Any]:
        """Return the statistics as the route shows them."""
        return {
            "success": self.success,
            "fail": self.fail,
            "pending": self.pending,
            "since": format_time(self.since),
            "until": format_time(self.until),
            "buckets": [{"start": format_time(at), "success": ok, "fail": bad} for at, ok, bad in self.buckets],
        }
