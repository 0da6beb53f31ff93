"""Records attempts, also after errors: an answered attempt must not be repeated because of us."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import TypeVar

from anyio import sleep

from starlette_webhooks.delivery.deliveries import DisabledEndpoint, LeasedDelivery, Outcome
from starlette_webhooks.delivery.store import DeliveryStore
from starlette_webhooks.exceptions import BackendUnavailable, QueueFull
from starlette_webhooks.identifiers import mint
from starlette_webhooks.problems import Problem

__all__ = ["Recorder"]

logger = logging.getLogger("starlette_webhooks")

T = TypeVar("T")


class Recorder:
    """Records attempts in a store.

    Args:
        pause: Seconds to wait while the store is unavailable.
        settled: Called when no record waits for the store any longer.
    """

    def __init__(self, store: DeliveryStore, *, pause: float, settled: Callable[[], None]) -> None:
        self._store = store
        self._pause = pause
        self._settled = settled
        self._problem = Problem("Attempts are being recorded again.", level=logging.WARNING)
        self.waiting = 0
        """The number of records that wait because the store is unavailable."""

    @property
    def problem(self) -> str | None:
        """Why records wait, or None."""
        return self._problem.text

    async def record(self, outcome: Outcome, *, disable_after: int) -> DisabledEndpoint | None:
        """Record an attempt. See `DeliveryStore.record`.

        If an attempt cannot be recorded as it is, only its result is recorded. If that fails too, the delivery is set
        aside, so that it is not repeated without end. If the store is unavailable, the record waits for it, even
        beyond the lease: the delivery is then removed unless another process has claimed it since.
        """
        delivery = outcome.delivery
        try:
            return await self._keep_trying(partial(self._store.record, outcome, disable_after=disable_after))
        except Exception:
            logger.exception(
                "The attempt %s of the event %s to the endpoint %s could not be recorded. Recording its result alone.",
                outcome.attempt_id,
                delivery.event_id,
                delivery.endpoint_id,
                extra=delivery.log_fields("attempt.not_recorded", attemptId=outcome.attempt_id),
            )
        try:
            return await self._keep_trying(partial(self._store.record, _bare(outcome), disable_after=0))
        except Exception:
            logger.exception(
                "The event %s is not delivered to the endpoint %s again unless somebody resends it: its last attempt, "
                "with the result %d, could not be recorded.",
                delivery.event_id,
                delivery.endpoint_id,
                outcome.status_code,
                extra=delivery.log_fields("delivery.set_aside", statusCode=outcome.status_code),
            )
        await self._keep_trying(partial(self._store.set_aside, delivery))
        return None

    async def release(self, delivery: LeasedDelivery, *, due: int) -> None:
        """Release a lease. See `DeliveryStore.release`."""
        await self._keep_trying(partial(self._store.release, [delivery], due=due))

    async def _keep_trying(self, operation: Callable[[], Awaitable[T]]) -> T:
        try:
            return await operation()
        except (BackendUnavailable, QueueFull) as exc:
            self._problem.begin(f"Attempts are waiting to be recorded. {exc}")
        self.waiting += 1
        try:
            while True:
                await sleep(self._pause)
                try:
                    return await operation()
                except (BackendUnavailable, QueueFull):  # pragma: no cover  The outage must outlast the pause.
                    continue
        finally:
            self.waiting -= 1
            if not self.waiting:
                self._problem.end()
                self._settled()


def _bare(outcome: Outcome) -> Outcome:
    return replace(
        outcome,
        attempt_id=mint("atmpt_", outcome.started),
        duration_ms=0,
        response="",
        error="" if outcome.ok else "the attempt could not be recorded",
        pause_until=0,
        headers="",
        silent=True,
    )
