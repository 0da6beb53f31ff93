"""Pauses a relay while its target is down, so that thousands of tenants do not retry one after another."""

from __future__ import annotations

import anyio

from starlette_webhooks.relay.backoff import backoff
from starlette_webhooks.relay.clock import TimeSource

__all__ = ["Breaker"]

# A failure may be specific to a tenant. If this many tenants fail and none succeeds, the target is down.
_TENANTS = 3


class Breaker:
    """Admits every call until the target fails for all tenants. Then admits one at a time, after increasing pauses."""

    def __init__(self, time: TimeSource) -> None:
        self._time = time
        self._failures = 0
        self._until = 0.0
        self._probing = False
        self._failed: set[str] = set()
        self._changed = anyio.Event()

    @property
    def open(self) -> bool:
        """Whether the target is considered down."""
        return self._failures > 0

    async def admit(self) -> None:
        """Wait until a call makes sense. Call `succeeded` or `failed` afterwards."""
        while self._failures:
            if self._probing:
                await self._changed.wait()
                continue
            self._probing = True
            try:
                if (remaining := self._until - self._time.monotonic()) > 0:
                    await self._time.sleep(remaining)
            except BaseException:
                self._probing = False
                self._notify()
                raise
            return

    def succeeded(self) -> None:
        """Note that a call succeeded."""
        self._failed.clear()
        if self._failures or self._probing:
            self._failures = 0
            self._probing = False
            self._notify()

    def failed(self, tenant: str, *, everywhere: bool, retry_after: float | None) -> None:
        """Note that a call failed. `everywhere` means that other tenants' calls would fail as well."""
        self._failed.add(tenant)
        if not (everywhere or self._failures or len(self._failed) >= _TENANTS):
            return
        if self._probing or not self._failures:
            # Concurrent calls count once.
            self._failures += 1
            self._until = self._time.monotonic() + backoff(self._failures, retry_after=retry_after)
        self._probing = False
        self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()
