"""The dispatcher: takes deliveries that are due, makes an attempt at each, and records what came of it.

At least once: an attempt is recorded after the receiver has answered, so a crash between the two repeats it, with the
same `webhook-id`. Processes that share a database share the work, by leases.
"""

from __future__ import annotations

import heapq
import logging
import math
import random
import time
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING

import anyio
from anyio import CancelScope, create_task_group, current_time, move_on_after, sleep
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint_if_cancelled

from starlette_webhooks._version import __version__
from starlette_webhooks.delivery.client import RESERVED_HEADERS, DeliveryClient, DeliveryFailed, Reply
from starlette_webhooks.delivery.limits import SLOW_MS, Ask, Lane, Limits, Ready
from starlette_webhooks.delivery.retry import next_attempt, parse_retry_after
from starlette_webhooks.exceptions import BackendUnavailable, QueueFull
from starlette_webhooks.identifiers import mint
from starlette_webhooks.signing import parse_secret, signature_headers
from starlette_webhooks.stores.sqlite.queue import Claim, Job, claim, scan
from starlette_webhooks.stores.sqlite.recording import DisabledEndpoint, OnDisabled, Outcome, Recording

if TYPE_CHECKING:
    from starlette_webhooks.settings import WebhooksSettings
    from starlette_webhooks.stores.sqlite.database import Database
    from starlette_webhooks.types import Clock

__all__ = ["DisabledEndpoint", "Dispatcher"]

logger = logging.getLogger("starlette_webhooks")

_SCAN_EVERY = 1.0
_SCAN_SHARE = 0.05
_LEASE_MARGIN = 10.0
_GRACE = 1.5
_PAUSE = 1.0
_MAX_PAUSE = 3600.0
_THROTTLED = frozenset((429, 502, 504))
_OURS = frozenset((b"content-type", b"user-agent")) | RESERVED_HEADERS
_FAMILIES = (b"webhook-", b"svix-")

_key = lru_cache(maxsize=4096)(parse_secret)


class Dispatcher:
    """Delivers what is due, for as long as `run` runs.

    Args:
        clock: Seconds since the epoch; tests set it forward.
        random: A number from 0 to 1, for the jitter of retries.
        on_disabled: Called when an endpoint is disabled, on the database's thread and within the same transaction.
    """

    def __init__(
        self,
        database: Database,
        client: DeliveryClient,
        settings: WebhooksSettings,
        *,
        clock: Clock = time.time,
        random: Callable[[], float] = random.random,
        on_disabled: OnDisabled,
    ) -> None:
        self._database = database
        self._client = client
        self._settings = settings
        self._clock = clock
        self._random = random
        self._on_disabled = on_disabled
        user_agent = f"starlette-webhooks/{__version__}"
        self._common_headers = [(b"content-type", b"application/json"), (b"user-agent", user_agent.encode())]
        self._limits = Limits(settings.concurrency, settings.endpoint_concurrency, random)
        self._ready = Ready(self._limits)
        self.busy = 0
        """Attempts under way, or not recorded yet."""
        self._timers: list[tuple[float, int]] = []
        self._timed: dict[int, float] = {}
        self._wakeup: anyio.Event | None = None
        self._scan_at = 0.0
        self._scan_after = 0
        self._scan_every = _SCAN_EVERY

    @property
    def in_flight(self) -> int:
        """Attempts under way now."""
        return self._limits.in_flight

    def kick(self, endpoints: Iterable[int] = ()) -> None:
        """New deliveries were committed. Called on the event loop.

        Args:
            endpoints: Their numbers, which saves a look at all endpoints that have deliveries.
        """
        known = False
        for endpoint in endpoints:
            known = True
            self._wait_for(0, endpoint)
        if not known:
            self._scan_at = 0.0
        self._wake()

    def resume(self, endpoint: int) -> None:
        """Try an endpoint now, though it fails: somebody asked for it. Called on the event loop."""
        self._limits.resume(endpoint)
        self.kick((endpoint,))

    def _wake(self) -> None:
        if self._wakeup is not None:
            self._wakeup.set()

    async def run(self) -> None:
        """Deliver for ever. When cancelled, attempts under way have 1.5 seconds to end; or they are repeated later."""
        self._hosting, self._stopped = anyio.Event(), anyio.Event()
        self._scope = CancelScope(shield=True)
        async with create_task_group() as tasks:
            # Not `start`: where this is cancelled meanwhile, that would wait for a host that nobody tells to end.
            tasks.start_soon(self._host)
            try:
                await self._hosting.wait()
                await self._dispatch(self._attempts)
            finally:
                self._scope.deadline = current_time() + _GRACE
                self._stopped.set()

    async def _host(self) -> None:
        with self._scope:
            async with create_task_group() as self._attempts:
                self._hosting.set()
                await self._stopped.wait()

    async def _dispatch(self, attempts: TaskGroup) -> None:
        while True:
            self._wakeup = anyio.Event()
            try:
                await self._scan()
                while asks := self._ready.take(current_time()):
                    await self._claim(attempts, asks)
                    await checkpoint_if_cancelled()
                    await self._scan()
            except (BackendUnavailable, QueueFull) as exc:
                logger.warning("Deliveries wait, since the database cannot be used: %s", exc)
                self._scan_at = 0.0
                await sleep(_PAUSE)
            except Exception:
                logger.exception("Deliveries could not be taken from the queue; trying again.")
                self._scan_at = 0.0
                await sleep(_PAUSE)
            with move_on_after(self._idle_seconds()):
                await self._wakeup.wait()

    def _now(self) -> int:
        return int(self._clock() * 1000)

    def _idle_seconds(self) -> float:
        seconds = min(self._scan_at, self._ready.slow_from()) - current_time()
        if self._timers:
            seconds = min(seconds, (self._timers[0][0] - self._now()) / 1000)
        return max(seconds, 0.0)

    async def _scan(self) -> None:
        """Look for endpoints with deliveries due: what other processes added, and retries.

        Every second, or more rarely with so many endpoints that it would take more than a twentieth of the time.
        """
        now = self._now()
        while self._timers and self._timers[0][0] <= now:
            due, endpoint = heapq.heappop(self._timers)
            if self._timed.get(endpoint) == due:
                del self._timed[endpoint]
            self._wait_for(due, endpoint)
        if current_time() < self._scan_at:
            return
        started = current_time()
        self._scan_at = started + self._scan_every
        after: int | None = self._scan_after
        while after is not None and not self._ready.full:
            page = await self._database.read(partial(scan, after=after, due_by=now + self._horizon_ms))
            for found in page.found:
                if found.failing:
                    self._limits.known_to_fail(found.endpoint)
                self._wait_for(found.due, found.endpoint)
            after = page.after
        self._scan_after = after or 0
        self._scan_every = max(_SCAN_EVERY, (current_time() - started) / _SCAN_SHARE)

    @property
    def _horizon_ms(self) -> int:
        # Beyond the next scan, so that what is due in between is made on time.
        return int(self._scan_every * 1500)

    def _wait_for(self, due: float, endpoint: int) -> None:
        """Have an endpoint asked for deliveries at that time, or when its pause is over."""
        now = self._now()
        due = max(due, self._limits.paused_until(endpoint))
        if due <= now:
            self._ready.add(endpoint)
        elif due <= now + self._horizon_ms and due < self._timed.get(endpoint, math.inf):
            self._timed[endpoint] = due
            heapq.heappush(self._timers, (due, endpoint))
        # A scan finds what is due later.

    async def _claim(self, attempts: TaskGroup, asks: Sequence[Ask]) -> None:
        now = self._now()
        lease = now + int((self._settings.attempt_timeout + _LEASE_MARGIN) * 1000)
        take = partial(
            claim,
            asks=asks,
            room=self._limits.room(current_time()),
            tenants=dict(self._limits.tenants),
            now=now,
            lease=lease,
        )
        # Cancelled in between, it would leave deliveries leased to nobody.
        with CancelScope(shield=True):
            claimed: Claim = await self._database.write(take)
        for endpoint in claimed.failing:
            self._limits.known_to_fail(endpoint)
        began = current_time()
        for job in claimed.jobs:
            lane = self._limits.started(job.endpoint, job.tenant, began)
            self.busy += 1
            attempts.start_soon(self._deliver, job, lane)
        now = self._now()
        paused = {endpoint for endpoint in claimed.unserved if self._limits.paused_until(endpoint) > now}
        self._ready.put_back([endpoint for endpoint in claimed.unserved if endpoint not in paused])
        for endpoint in (*claimed.left, *paused):
            self._wait_for(0, endpoint)
        for due, endpoint in claimed.waiting:
            self._wait_for(due, endpoint)

    async def _deliver(self, job: Job, lane: Lane) -> None:
        try:
            try:
                outcome = await self._attempt(job)
            finally:
                # Before it is recorded: whatever is claimed next is committed together with the record.
                self._limits.finished(job.endpoint, job.tenant, lane)
                self._may_go_on(job.endpoint)
            disabled = await self._record(outcome)
            if disabled is not None:
                logger.warning("The endpoint %s was disabled: %s.", disabled.id, disabled.reason)
        except Exception:
            # One delivery must not end all others. Where it was not recorded, its lease runs out and it is repeated.
            logger.exception("Something went wrong about a delivery to the endpoint %s.", job.endpoint_id)
        finally:
            self.busy -= 1

    def _may_go_on(self, endpoint: int) -> None:
        if self._limits.paused_until(endpoint) <= self._now():
            self._ready.finished(endpoint)
        elif self._ready.remove(endpoint):
            self._wait_for(0, endpoint)
        if self._ready or self._timers:
            self._wake()

    async def _attempt(self, job: Job) -> Outcome:
        started = self._now()
        outcome = partial(Outcome, job=job, attempt_id=mint("atmpt_", started), started=started)
        try:
            reply = await self._client.post(job.url, self._headers(job, started // 1000), job.payload)
        except DeliveryFailed as exc:
            return self._unanswered(job, exc.reason, exc.duration_ms, outcome)
        except Exception:
            logger.exception("The event %s cannot be sent to the endpoint %s.", job.event_id, job.endpoint_id)
            return self._unanswered(job, "internal error of the sender", 0, outcome)
        return self._answered(job, reply, outcome)

    def _unanswered(self, job: Job, reason: str, duration_ms: int, outcome: partial[Outcome]) -> Outcome:
        ended = self._now()
        self._limits.learn(job.endpoint, ended, ok=False, slow=False, throttled=False)
        next_due = self._next_due(job, ended, None)
        return outcome(ok=False, ended=ended, duration_ms=duration_ms, error=reason, next_due=next_due)

    def _answered(self, job: Job, reply: Reply, outcome: partial[Outcome]) -> Outcome:
        ended = self._now()
        ok = 200 <= reply.status < 300
        throttled = reply.status in _THROTTLED
        self._limits.learn(job.endpoint, ended, ok=ok, slow=reply.duration_ms > SLOW_MS, throttled=throttled)
        retry_after = None if ok else parse_retry_after(reply.headers.get("retry-after"), ended / 1000)
        pause = min(retry_after or 0.0, _MAX_PAUSE) if reply.status == 429 else 0.0
        return outcome(
            ok=ok,
            ended=ended,
            duration_ms=reply.duration_ms,
            status_code=reply.status,
            response=reply.body.decode("utf-8", "replace").replace("\x00", ""),
            next_due=None if ok else self._next_due(job, ended, retry_after),
            pause_until=ended + int(pause * 1000) if pause else 0,
        )

    def _next_due(self, job: Job, ended: int, retry_after: float | None) -> int | None:
        due = next_attempt(
            self._settings.retry_schedule, job.step, now=ended / 1000, retry_after=retry_after, random=self._random
        )
        return None if due is None else int(due * 1000)

    def _headers(self, job: Job, timestamp: int) -> list[tuple[bytes, bytes]]:
        keys = [_key(key) for key in job.keys]
        signed = signature_headers(keys, job.event_id, timestamp, job.payload, self._settings.signature_headers)
        return [*self._common_headers, *_custom_headers(job), *signed]

    async def _record(self, outcome: Outcome) -> DisabledEndpoint | None:
        disable_after = int(self._settings.disable_after * 1000)
        recording = Recording(outcome, disable_after=disable_after, on_disabled=self._on_disabled)
        while True:
            try:
                disabled = await self._database.write(recording)
            except (BackendUnavailable, QueueFull):
                # Once the lease is over, the delivery belongs to whoever claims it next.
                if self._now() >= outcome.job.lease:
                    raise
                await sleep(_PAUSE)
                continue
            if outcome.next_due is not None:
                self._wait_for(outcome.next_due, outcome.job.endpoint)
                self._wake()
            return disabled


def _custom_headers(job: Job) -> list[tuple[bytes, bytes]]:
    pairs = [(name.lower().encode(), value.encode()) for name, value in job.headers.items()]
    return [(name, value) for name, value in pairs if name not in _OURS and not name.startswith(_FAMILIES)]
