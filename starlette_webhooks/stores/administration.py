"""What an operator does to a database from outside the app. The same for all stores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from starlette_webhooks.stores.migrations import Applied, Installed

__all__ = ["Administration", "Adopted"]


@dataclass(frozen=True, slots=True)
class Adopted:
    """What `adopt` has changed.

    Attributes:
        before: The environment that the database belonged to.
        endpoints: How many endpoints were disabled.
        deliveries: How many deliveries were dropped, and events that waited for Svix.
    """

    before: str | None
    endpoints: int = 0
    deliveries: int = 0


class Administration(Protocol):
    """Work on a database. Every call blocks, and raises `BackendUnavailable` where it cannot be done."""

    @property
    def where(self) -> str:
        """The database, for messages; without a password."""

    def migrate(self, applied: Applied) -> Installed:
        """Bring the schema up to date, while the app runs or not."""

    def grant(self, role: str) -> None:
        """Let a role of the database use the schema, and change nothing of it."""

    def adopt(self, environment: str | None, *, keep: bool) -> Adopted:
        """Make a copy this environment's own.

        Unless `keep`, nothing is delivered from it by itself: what waits is dropped, and endpoints are disabled.
        """
