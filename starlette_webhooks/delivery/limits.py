"""How many attempts may be under way: in all, to one endpoint, and to those that are slow or fail.

An endpoint starts with one attempt at a time. Each success doubles that, up to the setting; a failure takes it back to
one, and further failures to none for a moment that grows with each. Endpoints that fail or are slow share half of the
slots, and a quarter is kept for those known to be quick. So a healthy endpoint finds a slot and a process with time for
it, however many dead ones there are. And they begin a few at a time: those that ran into the same timeout would else
begin all at once again, and keep the process from anything else meanwhile.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

from starlette_webhooks.delivery.retry import pause

__all__ = ["Ask", "Lane", "Limits", "Ready", "Room", "share"]

SLOW_MS = 2000
_KNOWN = 10_000
_SLOW_PARTS = 8
_SLOW_LEAST = 4
_SLOW_EVERY = 0.02
READY = 10_000


class Lane(IntEnum):
    """What is known of an endpoint in this process."""

    PROVEN = 0
    """Its last attempt succeeded, within 2 seconds."""
    NEW = 1
    SLOW = 2
    """Its last attempt failed, or took longer."""


@dataclass(slots=True)
class Room:
    """Slots to give away.

    Attributes:
        free: In all.
        reserve: Of these, kept for proven endpoints.
        slow: For slow endpoints at most.
    """

    free: int
    reserve: int
    slow: int

    def of(self, lane: Lane) -> int:
        """Slots that an endpoint of this lane may have."""
        if lane is Lane.PROVEN:
            return self.free
        shared = max(self.free - self.reserve, 0)
        return shared if lane is Lane.NEW else min(shared, self.slow)

    def take(self, lane: Lane) -> bool:
        """Give a slot away. False where there is none."""
        if self.of(lane) <= 0:
            return False
        self.free -= 1
        if lane is Lane.SLOW:
            self.slow -= 1
        return True


@dataclass(frozen=True, slots=True)
class Ask:
    """An endpoint that may have attempts.

    Attributes:
        room: How many more it may have.
        load: How many it has under way.
    """

    endpoint: int
    lane: Lane
    room: int
    load: int
    tenant: str = ""


def share(asks: Sequence[Ask], room: Room, tenants: Mapping[str, int]) -> dict[int, int]:
    """Divide the slots: each to the tenant with the fewest attempts under way, and its endpoint with the fewest.

    Args:
        tenants: Attempts under way by tenant.

    Returns:
        How many attempts each endpoint gets, without those that get none.
    """
    left = replace(room)
    loads = dict(tenants)
    shares: dict[int, int] = {}
    heap = [(loads.get(ask.tenant, 0), ask.load, place) for place, ask in enumerate(asks) if ask.room > 0]
    heapq.heapify(heap)
    while heap and left.free > 0:
        tenant_load, load, place = heap[0]
        ask = asks[place]
        current = loads.get(ask.tenant, 0)
        if current != tenant_load:
            heapq.heapreplace(heap, (current, load, place))
            continue
        if not left.take(ask.lane):
            heapq.heappop(heap)
            continue
        loads[ask.tenant] = current + 1
        shares[ask.endpoint] = shares.get(ask.endpoint, 0) + 1
        if shares[ask.endpoint] < ask.room:
            heapq.heapreplace(heap, (current + 1, load + 1, place))
        else:
            heapq.heappop(heap)
    return shares


class _State:
    __slots__ = ("cap", "failures", "lane", "load", "paused_until")

    def __init__(self) -> None:
        self.cap = 1
        self.failures = 0
        self.lane = Lane.NEW
        self.load = 0
        self.paused_until = 0


class Limits:
    """The attempts under way, and what is known of the endpoints. Belongs to the event loop.

    Args:
        concurrency: Attempts at a time.
        per_endpoint: Attempts at a time to one endpoint.
        random: A number from 0 to 1, for the jitter of pauses.
    """

    def __init__(self, concurrency: int, per_endpoint: int, random: Callable[[], float] = random.random) -> None:
        self._concurrency = concurrency
        self._per_endpoint = per_endpoint
        self._random = random
        self._states: dict[int, _State] = {}
        self._slow = 0
        self._most_slow = max(concurrency // 2, 1)
        self._slow_at = 0.0
        self.in_flight = 0
        self.tenants: dict[str, int] = {}

    def room(self, now: float) -> Room:
        """The slots that may be given away. `now` is by the loop's clock, in seconds."""
        room = Room(self._concurrency - self.in_flight, self._concurrency // 4, self._most_slow - self._slow)
        room.slow = min(room.slow, max(self._most_slow // _SLOW_PARTS, _SLOW_LEAST)) if now >= self._slow_at else 0
        return room

    def slow_from(self) -> float:
        """When slow endpoints may have more slots, by the loop's clock; infinity where one must be given back first."""
        return self._slow_at if self.room(math.inf).of(Lane.SLOW) > 0 else math.inf

    def lane(self, endpoint: int) -> Lane:
        """The lane of an endpoint."""
        state = self._states.get(endpoint)
        return Lane.NEW if state is None else state.lane

    def ask(self, endpoint: int) -> Ask:
        """What an endpoint may have now."""
        state = self._states.get(endpoint)
        if state is None:
            return Ask(endpoint, Lane.NEW, 1, 0)
        return Ask(endpoint, state.lane, state.cap - state.load, state.load)

    def known_to_fail(self, endpoint: int) -> None:
        """The database tells that the last attempt failed; what this process has seen itself counts more."""
        if self.lane(endpoint) is Lane.NEW:
            self._state(endpoint).lane = Lane.SLOW

    def started(self, endpoint: int, tenant: str, now: float) -> Lane:
        """An attempt begins. Returns the lane that it counts in."""
        state = self._state(endpoint)
        state.load += 1
        self.in_flight += 1
        if state.lane is Lane.SLOW:
            self._slow += 1
            self._slow_at = now + _SLOW_EVERY
        self.tenants[tenant] = self.tenants.get(tenant, 0) + 1
        return state.lane

    def finished(self, endpoint: int, tenant: str, lane: Lane) -> None:
        """An attempt is over."""
        self._state(endpoint).load -= 1
        self.in_flight -= 1
        self._slow -= lane is Lane.SLOW
        self.tenants[tenant] -= 1
        if not self.tenants[tenant]:
            del self.tenants[tenant]

    def paused_until(self, endpoint: int) -> int:
        """When an endpoint may have another attempt, in milliseconds; 0 for now."""
        state = self._states.get(endpoint)
        return 0 if state is None else state.paused_until

    def resume(self, endpoint: int) -> None:
        """End an endpoint's pause."""
        state = self._states.get(endpoint)
        if state is not None:
            state.paused_until = 0

    def learn(self, endpoint: int, now: int, *, ok: bool, slow: bool, throttled: bool) -> None:
        """How an attempt went. `throttled` halves what the endpoint gets, other failures take it back to one.

        Args:
            now: In milliseconds.
        """
        state = self._state(endpoint)
        if ok:
            state.cap = min(state.cap * 2, self._per_endpoint)
            state.failures = state.paused_until = 0
        else:
            state.cap = max(state.cap // 2, 1) if throttled else 1
            # Attempts that were under way already when it began to fail tell nothing new.
            if now >= state.paused_until:
                state.failures += 1
                state.paused_until = now + int(pause(state.failures, self._random) * 1000)
        state.lane = Lane.PROVEN if ok and not slow else Lane.SLOW

    def _state(self, endpoint: int) -> _State:
        state = self._states.get(endpoint)
        if state is None:
            if len(self._states) >= _KNOWN:
                # At most `concurrency` of them are busy, so this ends soon.
                idle = next((known for known, one in self._states.items() if not one.load), None)
                if idle is not None:
                    del self._states[idle]
            state = self._states[endpoint] = _State()
        return state


class Ready:
    """Endpoints that are believed to have deliveries due, in turn. Belongs to the event loop."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._queues: dict[Lane, OrderedDict[int, None]] = {lane: OrderedDict() for lane in Lane}
        self._busy: OrderedDict[int, None] = OrderedDict()
        self._places: dict[int, OrderedDict[int, None]] = {}

    def __len__(self) -> int:
        return len(self._places)

    @property
    def full(self) -> bool:
        """Whether no more endpoints are taken of which nothing is known."""
        return len(self._queues[Lane.NEW]) >= READY

    def add(self, endpoint: int) -> None:
        """Put an endpoint at the end of its lane. One that waits there already keeps its place.

        Beyond 10,000 endpoints in the lane it is left to the next look into the database.
        """
        place = self._places.get(endpoint)
        queue = self._queues[self._limits.lane(endpoint)]
        if place is queue or (place is None and len(queue) >= READY):
            return
        if place is not None:
            del place[endpoint]
        queue[endpoint] = None
        self._places[endpoint] = queue

    def put_back(self, endpoints: Sequence[int]) -> None:
        """Put endpoints that got no slot at the head of their lanes again. Else some would never have their turn."""
        for endpoint in reversed(endpoints):
            self.remove(endpoint)
            queue = self._places[endpoint] = self._queues[self._limits.lane(endpoint)]
            queue[endpoint] = None
            queue.move_to_end(endpoint, last=False)

    def finished(self, endpoint: int) -> None:
        """An attempt to the endpoint is over: it may have another, and perhaps in another lane."""
        if endpoint in self._places:
            self.add(endpoint)

    def remove(self, endpoint: int) -> bool:
        """Take an endpoint out, and say whether it was in."""
        place = self._places.pop(endpoint, None)
        if place is None:
            return False
        del place[endpoint]
        return True

    def slow_from(self) -> float:
        """When slow endpoints that wait here may have slots, as `Limits.slow_from`; infinity where none waits."""
        return self._limits.slow_from() if self._queues[Lane.SLOW] else math.inf

    def take(self, now: float) -> list[Ask]:
        """Take out those whose turn it is: more than there are slots, to choose from. Empty where none can be used."""
        room = self._limits.room(now)
        return [ask for lane in Lane if room.of(lane) > 0 for ask in self._take(lane, 2 * room.of(lane) + 16)]

    def _take(self, lane: Lane, most: int) -> list[Ask]:
        asks: list[Ask] = []
        queue = self._queues[lane]
        while queue and len(asks) < most:
            endpoint = next(iter(queue))
            del queue[endpoint]
            ask = self._limits.ask(endpoint)
            if ask.room > 0:
                del self._places[endpoint]
                asks.append(ask)
            else:
                self._busy[endpoint] = None
                self._places[endpoint] = self._busy
        return asks
