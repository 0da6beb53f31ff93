"""Redelivers one event, or everything that failed."""

from __future__ import annotations

from starlette_webhooks.conflicts import endpoint_disabled
from starlette_webhooks.identifiers import first_id
from starlette_webhooks.stores.base import CountedMissing, RecoverCursor, Recovered, RecoverWindow
from starlette_webhooks.stores.limits import SOON_MS
from starlette_webhooks.stores.moments import to_ms
from starlette_webhooks.stores.postgresql.database import Database

__all__ = ["count_missing", "recover", "resend"]

_FILE = "deliveries.sql"


async def resend(database: Database, tenant: str, event_id: str, endpoint_id: str, *, now: int) -> bool:
    """Make a delivery urgent. See `Redelivery.resend`."""
    ((reason,),) = await database.call(database.queries(_FILE)["resend"], (tenant, event_id, endpoint_id, now))
    if reason:
        raise endpoint_disabled(endpoint_id, reason)
    return reason is not None


async def recover(
    database: Database,
    tenant: str,
    endpoint_id: str,
    window: RecoverWindow,
    cursor: RecoverCursor | None,
    *,
    now: int,
    batch: int = 500,
) -> Recovered | None:
    """Queue a batch of failed deliveries. See `Redelivery.recover`."""
    number = await _enabled(database, tenant, endpoint_id)
    if number is None:
        return None
    low, high = _event_bounds(window, now)
    cursor = cursor or RecoverCursor("failed", first_id("atmpt_", now + 1000))
    if cursor.phase == "missing":
        values = (number, cursor.after or low, high, batch, now)
        ((queued, seen, last),) = await database.call(database.queries(_FILE)["recover_missing"], values)
        return Recovered(queued, RecoverCursor("missing", cursor.until, last) if seen == batch else None)
    after = cursor.after or first_id("atmpt_", to_ms(window.since))
    failed = (number, after, cursor.until, low, high, batch, now, now + SOON_MS)
    ((queued, seen, last),) = await database.call(database.queries(_FILE)["recover_failed"], failed)
    if seen == batch:
        return Recovered(queued, RecoverCursor("failed", cursor.until, last))
    return Recovered(queued, RecoverCursor("missing", cursor.until) if window.missing else None)


async def count_missing(
    database: Database,
    tenant: str,
    endpoint_id: str,
    window: RecoverWindow,
    after: str | None,
    *,
    now: int,
    batch: int = 500,
) -> CountedMissing | None:
    """See `UndeliveredStore.count_missing`."""
    number = await _enabled(database, tenant, endpoint_id)
    if number is None:
        return None
    low, high = _event_bounds(window, now)
    values = {"endpoint": number, "after": after or low, "until": high, "batch": batch}
    ((missing, seen, last),) = await database.call(database.queries(_FILE)["count_missing"], values)
    return CountedMissing(missing, last if seen == batch else None)


async def _enabled(database: Database, tenant: str, endpoint_id: str) -> int | None:
    """Return the number of an endpoint, or None if there is none. Raises `Conflict` if it is disabled."""
    rows = await database.call(database.queries(_FILE)["target"], (tenant, endpoint_id))
    if not rows:
        return None
    number, reason = rows[0]
    if reason is not None:
        raise endpoint_disabled(endpoint_id, reason)
    return int(number)


def _event_bounds(window: RecoverWindow, now: int) -> tuple[str, str]:
    high = now + 1000 if window.until is None else to_ms(window.until)
    return first_id("msg_", to_ms(window.since)), first_id("msg_", high)
