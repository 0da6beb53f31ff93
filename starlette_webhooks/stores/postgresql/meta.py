"""Values that all processes share, and stored secrets."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence

from starlette_webhooks.encryption import SEALED
from starlette_webhooks.meta import Meta
from starlette_webhooks.stores.base import Replacement, SecretStore, StoredSecrets
from starlette_webhooks.stores.postgresql.database import Database

__all__ = ["SharedValues", "StoredValues"]

_META = "meta.sql"
_SECRETS = "secrets.sql"


class SharedValues(Meta):
    """The part of a store or an outbox that stores named values."""

    database: Database

    async def read_meta(self, name: str, default: bytes) -> bytes:
        """See `Meta.read_meta`."""
        values = {"name": name, "value": default}
        rows = await self.database.call(self.database.queries(_META)["read"], values)
        if not rows:  # pragma: no cover  Another process must store it during the statement.
            # Another process stored it after this statement began.
            rows = await self.database.call(self.database.queries(_META)["read"], values)
        return bytes(rows[0][0])

    async def write_meta(self, name: str, value: bytes) -> None:
        """See `Meta.write_meta`."""
        await self.database.call(self.database.queries(_META)["write"], {"name": name, "value": value})

    async def find_meta(self, names: Collection[str]) -> Mapping[str, bytes]:
        """See `Meta.find_meta`."""
        rows = await self.database.call(self.database.queries(_META)["find"], {"names": list(names)})
        return {name: bytes(value) for name, value in rows}

    async def drop_meta(self, start: str, end: str) -> None:
        """See `Meta.drop_meta`."""
        await self.database.call(self.database.queries(_META)["drop"], {"start": start, "end": end})


class StoredValues(SharedValues, SecretStore):
    """The part of the store that also reads secrets of all tenants."""

    async def sealing_keys(self) -> set[str]:
        """See `SecretStore.sealing_keys`."""
        rows = await self.database.call(self.database.queries(_SECRETS)["sealing_keys"], {"mark": SEALED})
        return {name for (name,) in rows}

    async def stored_secrets(self, after: int, limit: int) -> Sequence[StoredSecrets]:
        """See `SecretStore.stored_secrets`."""
        rows = await self.database.call(self.database.queries(_SECRETS)["stored"], (after, limit))
        return [StoredSecrets(no, tenant, json.loads(keys or "[]"), headers) for no, tenant, keys, headers in rows]

    async def replace_secrets(self, changes: Sequence[Replacement]) -> None:
        """See `SecretStore.replace_secrets`."""
        for kind in ("key", "headers"):
            mine = [change for change in changes if change.kind == kind]
            if mine:
                values = {
                    "endpoints": [change.endpoint for change in mine],
                    "old": [change.old for change in mine],
                    "new": [change.new for change in mine],
                }
                await self.database.call(self.database.queries(_SECRETS)[f"replace_{kind}"], values)

    async def drop_expired_secrets(self, now: int) -> None:
        """Remove secrets that are no longer valid."""
        await self.database.call(self.database.queries(_SECRETS)["drop_expired"], (now,))
