"""Seals stored secrets with the current first key."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable

from starlette_webhooks.encryption import SEALED, CannotDecrypt, SecretBox
from starlette_webhooks.meta import Meta
from starlette_webhooks.stores.base import Replacement, SecretStore, StoredSecrets

__all__ = ["check_keys", "reencrypt", "session_key"]

_BATCH = 200
_SESSION_KEY = "secret_key"


async def check_keys(store: SecretStore, box: SecretBox) -> None:
    """Refuse to run without a key that stored secrets need, because deliveries could not be signed.

    Raises:
        CannotDecrypt: A key is missing.
    """
    if not await store.sealing_keys() <= set(box.key_ids):
        raise CannotDecrypt


async def reencrypt(store: SecretStore, box: SecretBox) -> int:
    """Seal all secrets and headers with the first key, and return the number of changed endpoints.

    Without keys, nothing is changed. Other processes may be running if all of them already have the new key.

    Raises:
        CannotDecrypt: None of the keys opens a secret.
    """
    if not box.key_ids:
        return 0
    count, after = 0, 0
    while rows := await store.stored_secrets(after, _BATCH):
        changes = [(row.endpoint, [*_replacements(row, box)]) for row in rows]
        await store.replace_secrets([change for _, mine in changes for change in mine])
        count += sum(1 for _, mine in changes if mine)
        after = rows[-1].endpoint
    await _reseal_session_key(store, box)
    return count


def _replacements(row: StoredSecrets, box: SecretBox) -> Iterable[Replacement]:
    for key in row.keys:
        if not box.is_current(key):
            yield Replacement(row.endpoint, "key", key, box.seal_secret(box.open_secret(key, row.tenant), row.tenant))
    stored = json.loads(row.headers)
    if not box.has_current_headers(stored):
        sealed = box.seal_headers(box.open_headers(stored, row.tenant), row.tenant)
        yield Replacement(row.endpoint, "headers", row.headers, json.dumps(dict(sealed)))


async def session_key(meta: Meta, box: SecretBox) -> bytes:
    """Return the key of sessions and tickets, which is generated once for all processes if the host has none."""
    return box.open_key(await meta.read_meta(_SESSION_KEY, box.seal_key(os.urandom(32))))


async def _reseal_session_key(meta: Meta, box: SecretBox) -> None:
    stored = (await meta.find_meta([_SESSION_KEY])).get(_SESSION_KEY)
    if stored is not None and not (stored.startswith(SEALED.encode()) and box.is_current(stored.decode())):
        await meta.write_meta(_SESSION_KEY, box.seal_key(box.open_key(stored)))
