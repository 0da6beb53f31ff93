"""Reports that this process delivers, so that `health()` of any process tells how many do."""

from __future__ import annotations

import secrets
from contextlib import suppress

import anyio

from starlette_webhooks.exceptions import BackendError
from starlette_webhooks.stores.base import Store
from starlette_webhooks.stores.processes import PREFIX, REPORT_EVERY

__all__ = ["Heartbeat"]

_LAST_WORD_SECONDS = 1.0


class Heartbeat:
    """Reports to a store.

    Args:
        every: Seconds between two reports.
    """

    def __init__(self, store: Store, *, every: float = REPORT_EVERY) -> None:
        self._store = store
        self._every = every
        self._name = f"{PREFIX}{secrets.token_hex(8)}"

    async def run(self) -> None:
        """Report until cancelled, then remove the report."""
        try:
            while True:
                with suppress(BackendError):
                    await self._store.report_process(self._name)
                await anyio.sleep(self._every)
        finally:
            with anyio.move_on_after(_LAST_WORD_SECONDS, shield=True), suppress(BackendError):
                await self._store.drop_meta(self._name, f"{self._name}~")
