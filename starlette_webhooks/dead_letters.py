"""Dead letters: events that were refused permanently on their way into the log or to Svix. For operators."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from starlette_webhooks.events import Event

__all__ = ["DeadLetter", "DeadLetters"]


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event that was refused permanently, with the reason.

    Attributes:
        id: Identifies the dead letter when you redrive or discard it.
        tenant: The tenant of the event. Empty if it is not known.
        event: The event. None if the row in the outbox does not contain a valid one.
        code: The reason, for programs: from Svix, or `invalid` for a row that cannot be read.
        detail: The reason, for people.
        dead_lettered_at: When it was refused, in UTC.
    """

    id: str
    tenant: str
    event: Event | None
    code: str
    detail: str
    dead_lettered_at: datetime


class DeadLetters(Protocol):
    """Where dead letters are kept. Every call raises `BackendUnavailable` if the database is unavailable."""

    async def dead_letters(self, *, tenant: str | None = None, limit: int = 100) -> Sequence[DeadLetter]:
        """Return the dead letters, of this tenant or of all, oldest first."""

    async def redrive(self, tenant: str | None = None, *, ids: Collection[str] | None = None) -> int:
        """Queue dead letters again: all, or only those of a tenant, or with these ids. Returns how many."""

    async def discard(self, ids: Collection[str]) -> int:
        """Delete the dead letters with these ids. Returns how many."""

    async def dead_letter_tenants(self, ids: Collection[str]) -> Mapping[str, str]:
        """Return the tenants of the dead letters with these ids, as far as they exist."""
