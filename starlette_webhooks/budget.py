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

    __slots__ = ("_budget", "_scope", "_used_at", "size", "tenant")

    def __init__(self, budget: Budget, tenant: str, size: int) -> None:
        self._budget = budget
        self._scope: anyio.CancelScope | None = None
        self._used_at = 0.0
        self.tenant = tenant
        self.size = size

    def may_end(self, scope: anyio.CancelScope) -> None:
        """Cancel this scope if its tenant must yield, and `use` has not been called for a while."""
        self._scope = scope
        self.use()
        self._budget._may_end[self] = None

    def use(self) -> None:
        """Note that the client has read a part of what is in memory."""
        self._used_at = anyio.current_time()

    def end_if_unused(self, since: float) -> None:
        """Cancel the scope unless `use` has been called since then."""
        if self._scope is not None and self._used_at < since:
            self._scope.cancel()

    def resize(self, size: int) -> None:
        """Release the bytes that are not needed, once the actual size is known. If it is larger, others wait longer."""
        self._budget._give_back(self.tenant, self.size - size)
        self.size = size

    def release(self) -> None:
        """Release everything. May be called again."""
        self._budget._may_end.pop(self, None)
        self.resize(0)

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

    Reserve the maximum size of a page before you read it, resize the reservation to the actual size, and release it
    once the client has the page. A request for more than the whole budget waits until nothing else is reserved.

    Args:
        limit: Bytes.
        reserve: How many of these are for tenants that hold nothing.
        patience: Seconds for which a client that blocks may keep memory while a tenant that has none waits.

    Attributes:
        held: The reserved bytes.
    """

    def __init__(self, limit: int, *, reserve: int = 0, patience: float = 2.0) -> None:
        self.limit = limit
        self.patience = patience
        self._reserve = reserve
        self.held = 0
        self._by_tenant: Counter[str] = Counter()
        self._waiting: deque[_Request] = deque()
        self._waiting_by: Counter[str] = Counter()
        self._may_end: dict[Reservation, None] = {}

    @property
    def waiting(self) -> int:
        """The number of waiting requests."""
        return len(self._waiting)

    def must_yield(self, tenant: str) -> bool:
        """Return whether a tenant holds more than an equal share while one that holds nothing waits."""
        if all(self._by_tenant[waiting] for waiting in self._waiting_by):
            return False
        return self._by_tenant[tenant] * (len(self._by_tenant) + 1) > self.limit

    async def reserve(self, tenant: str, size: int) -> Reservation:
        """Wait until the tenant may have this many bytes. Use a timeout, because others may release theirs late."""
        size = min(size, self.limit)
        if not self._waiting and self._may_have(tenant, size):
            return self._grant(tenant, size)
        request = _Request(tenant, size)
        self._waiting.append(request)
        self._waiting_by[tenant] += 1
        self._serve()
        try:
            while not request.granted:
                with anyio.move_on_after(self.patience):
                    await request.ready.wait()
                if not self._by_tenant[tenant]:
                    self._end_unused()
        except BaseException:
            if request.granted:
                self._give_back(tenant, size)
            else:
                self._waiting.remove(request)
                self._forget(tenant)
                # Smaller requests may have waited behind it.
                self._serve()
            raise
        return Reservation(self, tenant, size)

    def _end_unused(self) -> None:
        since = anyio.current_time() - self.patience
        for reservation in tuple(self._may_end):
            if self.must_yield(reservation.tenant):
                reservation.end_if_unused(since)

    def _forget(self, tenant: str) -> None:
        self._waiting_by[tenant] -= 1
        if not self._waiting_by[tenant]:
            del self._waiting_by[tenant]

    def _may_have(self, tenant: str, size: int) -> bool:
        free = self.limit - self.held
        return size <= free and self._within_share(tenant, size, free)

    def _within_share(self, tenant: str, size: int, free: int) -> bool:
        held = self._by_tenant[tenant]
        return within_share(held, size, free - self._reserve if held else free)

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
            if blocked or not self._within_share(request.tenant, request.size, free):
                # Tenants beyond their share wait for their own releases, and do not block others.
                left.append(request)
            elif request.size > free:
                # Smaller requests do not overtake this one, which might otherwise never be granted.
                blocked = True
                left.append(request)
            else:
                self._grant(request.tenant, request.size)
                self._forget(request.tenant)
                request.granted = True
                request.ready.set()
        self._waiting = left
