"""Where a stream resumes, and whether events that it has not got were removed.

Each store notes what it has removed of a tenant. A stream gets a gap only if it has missed something: a tenant may have
no events for longer than events are stored, and its streams must have something to resume after.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

from starlette_webhooks.identifiers import is_first_id, is_message_id, position_id
from starlette_webhooks.stores.tail import ReplayStart

__all__ = ["BEGINNING", "Removed", "TenantLog", "removed_name"]

BEGINNING = position_id(0)
"""What a stream resumes after if its tenant has never had an event."""

# Earlier clients saved it for any log that was empty, whatever had been removed before, so it never hides a gap.
_ZEROS = "msg_" + "0" * 27


def removed_name(tenant: str) -> str:
    """Return the name of the value that says what was removed. It outlives the tenant, whose name it does not show."""
    return f"removed:{sha256(tenant.encode()).hexdigest()}"


@dataclass(frozen=True, slots=True)
class Removed:
    """What has been removed of a tenant, because of its age or by `erase`.

    Attributes:
        position: The last position of an event that was removed. 0 if nothing was.
        last: The id of that event.
        latest: The greatest id of an event that was removed.
    """

    position: int = 0
    last: str = ""
    latest: str = ""

    @classmethod
    def decode(cls, value: bytes | None) -> Removed:
        """Return what a store has noted. None means nothing."""
        if value is None:
            return cls()
        position, last, latest = value.decode().split()
        return cls(int(position), last, latest)

    def encode(self) -> bytes:
        """Return the value to store."""
        return f"{self.position} {self.last} {self.latest}".encode()

    def including(self, position: int, identifier: str) -> Removed:
        """Return this with another event."""
        latest = max(self.latest, identifier)
        if position < self.position:
            return Removed(self.position, self.last, latest)
        return Removed(position, identifier, latest)

    def may_follow(self, identifier: str) -> bool:
        """Return whether something that was removed may have come after an id that no stored event has."""
        if identifier == BEGINNING:
            return self.position > 0
        if is_first_id("msg_", identifier) and identifier != _ZEROS:
            # A time to start from.
            return self.latest >= identifier
        return identifier != self.last


@dataclass(frozen=True, slots=True)
class TenantLog:
    """What a store knows about the log of a tenant, from one snapshot.

    Attributes:
        high: The position of the last event that was committed, of any tenant.
        oldest: The id of the first stored event.
        newest: The position and the id of the last stored event.
    """

    high: int
    oldest: str | None
    newest: tuple[int, str] | None
    removed: Removed

    @property
    def last_id(self) -> str:
        """The id of the last event, even if it was removed. `BEGINNING` if there never was one."""
        if self.newest is not None and self.newest[0] > self.removed.position:
            return self.newest[1]
        return self.removed.last or BEGINNING

    def start_now(self) -> ReplayStart:
        """Return the start of a stream that has asked for nothing."""
        return ReplayStart(self.high, self.high, last_id=self.last_id)

    def start_after(self, position: int) -> ReplayStart:
        """Return the start of a stream that has asked for a stored event."""
        # Events with pending deliveries are stored for longer than later ones.
        if position < self.removed.position:
            return self._start(position, missing=True)
        return ReplayStart(position, self.high, removed=self.removed.position)

    def start_after_missing(self, identifier: str, find_later: Callable[[], int | None]) -> ReplayStart:
        """Return the start of a stream that has asked for an id that no stored event has.

        Args:
            find_later: Returns the position of the first stored event with a greater id.
        """
        missing = self.removed.may_follow(identifier)
        if identifier == self.removed.last:
            return self._start(self.removed.position, missing=missing)
        if self.oldest is None or not is_message_id(identifier) or identifier < self.oldest:
            return self._start(0, missing=missing)
        # A restored backup or a failover has lost the event. The client has everything older.
        later = find_later()
        return self._start(self.high if later is None else later - 1, missing=missing)

    def _start(self, after: int, *, missing: bool) -> ReplayStart:
        return ReplayStart(after, self.high, self.last_id, missing, self.oldest, self.removed.position)
