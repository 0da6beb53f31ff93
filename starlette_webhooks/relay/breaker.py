"""Holds the relay back while Svix is down, so that thousands of tenants do not knock in turn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from starlette_webhooks.relay.backoff import backoff

if TYPE_CHECKING:
    from starlette_webhooks.relay.backoff import Pace

__all__ = ["Breaker"]

_TENANTS = 3


class Breaker:
    """Lets all pass, until Svix fails for everybody; then one at a time, after longer and longer pauses."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._failures = 0
        self._until = 0.0
        self._probing = False
        self._failed: set[str] = set()
        self._changed = anyio.Event()

    @property
    def open(self) -> bool:
        """Whether Svix is held to be down."""
        return self._failures > 0

    async def admit(self) -> None:
        """Wait until a call makes sense. Followed by `succeeded` or `failed`."""
        while self._failures:
            if self._probing:
                await self._changed.wait()
                continue
            self._probing = True
            try:
                if (remaining := self._until - self._pace.clock()) > 0:
                    await self._pace.sleep(remaining)
            except BaseException:
                self._probing = False
                self._notify()
                raise
            return

    def succeeded(self) -> None:
        """Svix answered a call properly."""
        self._failed.clear()
        if self._failures or self._probing:
            self._failures = 0
            self._probing = False
            self._notify()

    def failed(self, tenant: str, *, everywhere: bool, retry_after: float | None) -> None:
        """A call failed: for certain as any other would, or perhaps for this tenant alone."""
        self._failed.add(tenant)
        if not (everywhere or self._failures or len(self._failed) >= _TENANTS):
            return
        if self._probing or not self._failures:
            # Calls that were under way together count once.
            self._failures += 1
            self._until = self._pace.clock() + backoff(self._failures, retry_after=retry_after)
        self._probing = False
        self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()
