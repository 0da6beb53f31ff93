"""The administration of a database from outside the app, for all stores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from starlette_webhooks.stores.findings import Finding
from starlette_webhooks.stores.migrations import Applied, Installed

__all__ = ["Administration", "Adopted"]


@dataclass(frozen=True, slots=True)
class Adopted:
    """The changes of `adopt`.

    Attributes:
        before: The environment that the database belonged to.
        endpoints: How many endpoints were disabled.
        deliveries: How many deliveries, and events waiting for Svix, were dropped.
    """

    before: str | None
    endpoints: int = 0
    deliveries: int = 0


class Administration(Protocol):
    """Administers a database. Every call blocks, and raises `BackendUnavailable` if it fails."""

    @property
    def where(self) -> str:
        """The name of the database for messages, without a password."""

    def migrate(self, applied: Applied) -> Installed:
        """Migrate the schema. The app may be running."""

    def grant(self, role: str) -> None:
        """Let a role of the database use the schema without changing it."""

    def adopt(self, environment: str | None, *, keep: bool) -> Adopted:
        """Assign a copy to this environment.

        Unless `keep`, pending deliveries are dropped and endpoints are disabled, so that nothing is delivered from it.
        """

    def examine(self) -> Sequence[Finding]:
        """Check the installation: the database, its schema, its clock and its disk. Changes nothing."""
