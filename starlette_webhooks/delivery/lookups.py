"""Looks up names on threads. A tenant gets a share of them, because its DNS server may never answer."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeAlias

from anyio import CapacityLimiter, to_thread

from starlette_webhooks.budget import Budget, Reservation
from starlette_webhooks.waiting import running_loop

__all__ = ["Lookups"]

_Search: TypeAlias = Callable[..., list[Any]]


class Lookups:
    """The system's resolver, with a limit of threads.

    The event loop's own lookup shares its few threads with the host. A lookup cannot be interrupted: a caller can give
    up, but the thread is in use until the resolver returns.

    Args:
        at_once: The maximum of threads. A quarter is for the first lookup of a tenant, so that it takes many tenants
            to occupy them all. One gets at most half of the rest.
        search: Like `socket.getaddrinfo`.
    """

    def __init__(self, *, at_once: int = 128, search: _Search = socket.getaddrinfo) -> None:
        self._budget = Budget(at_once, reserve=at_once // 4)
        self._search = search

    @property
    def running(self) -> int:
        """The number of lookups that run now."""
        return self._budget.held

    async def find(self, host: str, port: int, *, tenant: str) -> list[str]:
        """Return the addresses of a host. Waits while the tenant uses its share.

        Raises:
            OSError: The name is not found.
        """
        slot = await self._budget.reserve(tenant, 1)
        lookup = _Lookup(partial(self._search, host.encode("ascii"), port, type=socket.SOCK_STREAM), slot)
        try:
            found = await to_thread.run_sync(lookup.run, abandon_on_cancel=True, limiter=CapacityLimiter(1))
        except BaseException:
            lookup.give_up()
            raise
        return [str(address[0]) for *_, address in found]


class _Lookup:
    """A lookup that occupies its slot until it has run, or was cancelled before it began."""

    def __init__(self, search: Callable[[], list[Any]], slot: Reservation) -> None:
        self._search = search
        self._slot = slot
        self._loop = running_loop()
        self._mutex = threading.Lock()
        self._begun = self._given_up = False

    def run(self) -> list[Any]:
        """Run on a thread."""
        with self._mutex:
            if self._given_up:  # pragma: no cover  It must be cancelled as the thread starts.
                return []
            self._begun = True
        try:
            return self._search()
        finally:
            # The loop may have ended before the resolver did.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._slot.release)

    def give_up(self) -> None:
        """Release the slot, because nobody waits any longer or no thread could be started."""
        with self._mutex:
            self._given_up = True
            begun = self._begun
        if not begun:
            self._slot.release()
