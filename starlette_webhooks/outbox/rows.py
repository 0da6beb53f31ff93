"""The rows of the outbox: an event as one line of JSON and its payload."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime

from starlette_webhooks.events import Event
from starlette_webhooks.identifiers import is_event_id, is_message_id, mint

__all__ = ["InvalidRow", "NewerRow", "Row", "from_row", "read_row", "to_row"]

_VERSION = 1
_TRACE = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


class InvalidRow(ValueError):
    """Raised for a row that does not contain a valid event."""


class NewerRow(InvalidRow):
    """Raised for a row that a newer version of this package wrote. A process of that version can move it."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the outbox. The columns never change, so that no version of this package needs a migration.

    Attributes:
        id: The public id of the event, `msg_` and a KSUID.
        body: A line of JSON with everything else, followed by the payload.
    """

    id: str
    tenant: str
    body: bytes


def to_row(event: Event) -> Row:
    """Return the row of an event."""
    # None of these has a character that JSON would escape.
    trace = "" if event.trace is None else f',"trace":"{event.trace}"'
    line = (
        f'{{"v":{_VERSION},"type":"{event.type}","time":{round(event.timestamp.timestamp() * 1000)},'
        f'"event_id":"{event.event_id}","channels":"{",".join(event.channels)}"{trace}}}\n'
    )
    # If the backend assigns ids, the row still needs a key.
    return Row(event.id or mint("msg_"), event.tenant, line.encode() + event.payload)


def read_row(row: Row) -> Event | None:
    """Return the event of a row, or None if there is none in it that this version can read."""
    try:
        return from_row(row)
    except InvalidRow:
        return None


def from_row(row: Row, *, mints_ids: bool = True) -> Event:
    """Return the event of a row.

    Args:
        mints_ids: Whether the backend uses the id of the row. If not, it assigns its own.

    Raises:
        InvalidRow: Other code wrote the row.
        NewerRow: A newer version of this package wrote it.
    """
    line, _, payload = row.body.partition(b"\n")
    try:
        head = json.loads(line)
        if head["v"] != _VERSION:
            raise NewerRow(f"A newer version of this package wrote it ({head['v']}). Upgrade the package.")
        if not (is_message_id(row.id) and row.tenant and payload.startswith(b"{") and is_event_id(head["event_id"])):
            raise InvalidRow("It is not complete.")
        channels = str(head["channels"])
        return Event(
            id=row.id if mints_ids else "",
            tenant=row.tenant,
            type=str(head["type"]),
            payload=payload,
            timestamp=datetime.fromtimestamp(int(head["time"]) / 1000, UTC),
            event_id=head["event_id"],
            channels=tuple(channels.split(",")) if channels else (),
            trace=_trace(head.get("trace")),
        )
    except (ValueError, KeyError, TypeError, OverflowError) as exc:
        raise exc if isinstance(exc, InvalidRow) else InvalidRow("It cannot be read.") from exc


def _trace(found: object) -> str | None:
    return found if isinstance(found, str) and _TRACE.fullmatch(found) else None
