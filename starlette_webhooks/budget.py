"""The memory that events take on their way from the log to slow clients: one budget for the whole process."""

from __future__ import annotations

from collections import Counter, deque

import anyio

__all__ = ["MemoryBudget", "Reservation", "within_share"]


def within_share(held: int, size: int, free: int) -> bool:
    """Whether a tenant that holds so much of something may take more, where so much is free.

    It may while what it will hold is not more than what is free now. So one tenant gets a half at most, a second one a
    half of the rest, and there is always something left for the next.
    """
    return not held or held + size <= free


class Reservation:
    """Bytes that were granted. Release them, or use it as a context manager."""

    __slots__ = ("_budget", "size", "tenant")

    def __init__(self, budget: MemoryBudget, tenant: str, size: int) -> None:
        self._budget = budget
        self.tenant = tenant
        self.size = size

    def shrink(self, size: int) -> None:
        """Give back what is not needed, once the true size is known."""
        if size < self.size:
            self._budget._give_back(self.tenant, self.size - size)
            self.size = size

    def release(self) -> None:
        """Give back everything. May be called again."""
        self.shrink(0)

    def __enter__(self) -> Reservation:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


class _Request:
    """A call that waits for its reservation."""

    __slots__ = ("granted", "ready", "size", "tenant")

    def __init__(self, tenant: str, size: int) -> None:
        self.tenant = tenant
        self.size = size
        self.ready = anyio.Event()
        self.granted = False


class MemoryBudget:
    """Bytes for pages of events in memory, shared fairly by tenants.

    Reserve before you read, with the most that a page can take; shrink to its true size; release once the client has
    it. A request for more than the whole budget waits until nothing else is held.

    Args:
        limit: Bytes.

    Attributes:
        held: Bytes that are reserved now.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0
        self._by_tenant: Counter[str] = Counter()
        self._waiting: deque[_Request] = deque()

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return len(self._waiting)

    async def reserve(self, tenant: str, size: int) -> Reservation:
        """Wait until the tenant may have so many bytes. Put a timeout around it: others may be slow to release."""
        size = min(size, self.limit)
        if not self._waiting and self._may_have(tenant, size):
            return self._grant(tenant, size)
        request = _Request(tenant, size)
        self._waiting.append(request)
        self._serve()
        try:
            if not request.granted:
                await request.ready.wait()
        except BaseException:
            if request.granted:
                self._give_back(tenant, size)
            else:
                self._waiting.remove(request)
                # It may have kept smaller ones waiting behind it.
                self._serve()
            raise
        return Reservation(self, tenant, size)

    def _may_have(self, tenant: str, size: int) -> bool:
        free = self.limit - self.held
        return size <= free and within_share(self._by_tenant[tenant], size, free)

    def _grant(self, tenant: str, size: int) -> Reservation:
        self.held += size
        self._by_tenant[tenant] += size
        return Reservation(self, tenant, size)

    def _give_back(self, tenant: str, size: int) -> None:
        self.held -= size
        self._by_tenant[tenant] -= size
        if not self._by_tenant[tenant]:
            del self._by_tenant[tenant]
        self._serve()

    def _serve(self) -> None:
        """Grant what can be granted, in order of arrival."""
        left: deque[_Request] = deque()
        blocked = False
        while self._waiting:
            request = self._waiting.popleft()
            free = self.limit - self.held
            if blocked or not within_share(self._by_tenant[request.tenant], request.size, free):
                # Tenants beyond their share wait for their own releases, and keep nobody else waiting.
                left.append(request)
            elif request.size > free:
                # Smaller requests do not overtake this one, or it might never be granted.
                blocked = True
                left.append(request)
            else:
                self._grant(request.tenant, request.size)
                request.granted = True
                request.ready.set()
        self._waiting = left
