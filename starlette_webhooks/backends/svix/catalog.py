"""Registers the catalog of event types with Svix."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from starlette_webhooks.backends.svix.errors import Missing, SvixRefused
from starlette_webhooks.backends.svix.mapping import type_schema
from starlette_webhooks.concurrency import each
from starlette_webhooks.event_types import EventType, EventTypes, SyncResult

if TYPE_CHECKING:
    from svix.api import EventTypeOut

    from starlette_webhooks.backends.svix.client import SvixClient
    from starlette_webhooks.relay.outbox import OutboxStore

__all__ = ["Catalog"]

_PAGE = 250


class Catalog:
    """Registers event types without changing what others have set for them.

    Args:
        archive: Whether to archive types that were removed from the catalog.
    """

    def __init__(self, client: SvixClient, store: OutboxStore, *, archive: bool) -> None:
        self._client = client
        self._store = store
        self._archive = archive

    async def sync(self, event_types: EventTypes, *, only_missing: bool = False) -> SyncResult:
        """Register new event types and update changed ones. Idempotent.

        Args:
            only_missing: Do not update or archive anything.

        Raises:
            BackendRefused: Svix refuses some of them. The others are registered.
        """
        there = await self._read()
        outcomes: dict[str, str] = {}
        refused: list[SvixRefused] = []

        async def register(event_type: EventType) -> None:
            if only_missing and event_type.name in there:
                return
            try:
                outcomes[event_type.name] = await self._register(event_type, there.get(event_type.name))
            except SvixRefused as exc:
                refused.append(exc)

        await each(list(event_types), register)
        await self._store.own_event_types(sorted(outcomes))
        if self._archive and not only_missing:
            await self._archive_vanished(event_types, there)
        if refused:
            raise refused[0]
        return SyncResult(
            **{
                outcome: tuple(sorted(name for name, was in outcomes.items() if was == outcome))
                for outcome in ("created", "updated", "unchanged")
            }
        )

    async def _read(self) -> dict[str, EventTypeOut]:
        from svix.api import EventTypeListOptions

        found: dict[str, EventTypeOut] = {}
        cursor: str | None = None
        while True:
            options = EventTypeListOptions(limit=_PAGE, iterator=cursor, include_archived=True, with_content=True)
            page = await self._client.call(self._client.sdk.event_type.list, options)
            found |= {out.name: out for out in page.data}
            cursor = page.iterator
            if page.done or not page.data or cursor is None:
                return found

    async def _register(self, event_type: EventType, there: EventTypeOut | None) -> str:
        from svix.api import EventTypeIn, EventTypePatch

        wanted: dict[str, Any] = {
            "description": event_type.description or event_type.label,
            "schemas": {"1": type_schema(event_type, mark_example=self._client.self_hosted)},
        }
        if there is None:
            new = EventTypeIn(name=event_type.name, group_name=event_type.category, **wanted)
            try:
                await self._client.call(self._client.sdk.event_type.create, new)
            except SvixRefused as exc:
                if exc.status != 409:
                    raise
                # Another process has just registered it.
                return "unchanged"
            return "created"
        changes = _differences(there, wanted)
        if not self._client.self_hosted and there.group_name is None:
            changes["group_name"] = event_type.category
        if not changes:
            return "unchanged"
        # Not PUT, which resets omitted fields such as feature flags.
        await self._client.call(self._client.sdk.event_type.patch, event_type.name, EventTypePatch(**changes))
        return "updated"

    async def _archive_vanished(self, event_types: EventTypes, there: dict[str, EventTypeOut]) -> None:
        for name in await self._store.owned_event_types():
            if name in event_types:
                continue
            if name in there and not there[name].archived:
                with suppress(Missing):
                    await self._client.done(self._client.sdk.event_type.delete, name)
            await self._store.disown_event_type(name)


def _differences(there: EventTypeOut, wanted: dict[str, Any]) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    if there.archived:
        changes["archived"] = False
    if there.description != wanted["description"]:
        changes["description"] = wanted["description"]
    schemas = dict(there.schemas or {})
    if any(schemas.get(version) != schema for version, schema in wanted["schemas"].items()):
        changes["schemas"] = schemas | wanted["schemas"]
    return changes
