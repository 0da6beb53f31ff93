"""The memory budget of a process for events that are being sent from the log to slow clients."""

from __future__ import annotations

from collections import Counter, deque

import anyio

__all__ = ["Budget", "Reservation", "within_share"]


def within_share(held: int, size: int, free: int) -> bool:
    """Return whether a tenant that already holds a part of a resource may take more of what is free.

    It may as long as it will not hold more than what is free now. One tenant therefore gets at most half, a second one
    half of the rest, and there is always something left for the next.
    """
    return not held or held + size <= free


class Reservation:
    """Granted bytes. Release them, or use this as a context manager."""

    __slots__ = ("_budget", "size", "tenant")

    def __init__(self, budget: Budget, tenant: str, size: int) -> None:
        self._budget = budget
        self.tenant = tenant
        self.size = size

    def shrink(self, size: int) -> None:
        """Release the bytes that are not needed, once the actual size is known."""
        if size < self.size:
            self._budget._give_back(self.tenant, self.size - size)
            self.size = size

    def release(self) -> None:
        """Release everything. May be called again."""
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


class Budget:
    """Bytes for pages of events in memory, which tenants share fairly.

    Reserve the maximum size of a page before you read it, shrink the reservation to the actual size, and release it
    once the client has the page. A request for more than the whole budget waits until nothing else is reserved.

    Args:
        limit: Bytes.

    Attributes:
        held: The reserved bytes.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0
        self._by_tenant: Counter[str] = Counter()
        self._waiting: deque[_Request] = deque()

    @property
    def waiting(self) -> int:
        """The number of waiting requests."""
        return len(self._waiting)

    async def reserve(self, tenant: str, size: int) -> Reservation:
        """Wait until the tenant may have this many bytes. Use a timeout, because others may release theirs late."""
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
                # Smaller requests may have waited behind it.
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
        """Grant waiting requests, in order of arrival."""
        left: deque[_Request] = deque()
        blocked = False
        while self._waiting:
            request = self._waiting.popleft()
            free = self.limit - self.held
            if blocked or not within_share(self._by_tenant[request.tenant], request.size, free):
                # Tenants beyond their share wait for their own releases, and do not block others.
                left.append(request)
            elif request.size > free:
                # Smaller requests do not overtake this one, which might otherwise never be granted.
                blocked = True
                left.append(request)
            else:
                self._grant(request.tenant, request.size)
                request.granted = True
                request.ready.set()
        self._waiting = left
