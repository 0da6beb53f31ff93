"""Checks at startup whether Svix responds, accepts the key and is new enough, and says what to do if not."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from starlette_webhooks.exceptions import BackendError
from starlette_webhooks.log_fields import log_fields
from starlette_webhooks.relay.backoff import backoff

if TYPE_CHECKING:
    from starlette_webhooks.backends.svix.client import SvixClient
    from starlette_webhooks.relay.clock import TimeSource

__all__ = ["Probe"]

logger = logging.getLogger("starlette_webhooks")


class Probe:
    """Tries until Svix has answered once.

    Attributes:
        problem: The problem, for operators. None if there is no known one.
    """

    def __init__(self, client: SvixClient, time: TimeSource) -> None:
        self._client = client
        self._time = time
        self.problem: str | None = None
        self.answered = False

    async def run(self) -> None:
        """Try until Svix answers, with increasing pauses."""
        failures = 0
        while True:
            try:
                await self._ask()
            except BackendError as exc:
                failures += 1
                if str(exc) != self.problem:
                    logger.error("%s Events are stored meanwhile.", exc, extra=log_fields("svix.unavailable"))
                self.problem = str(exc)
                await self._time.sleep(backoff(failures, first=1.0))
            else:
                if failures:
                    logger.info("Svix at %s answers.", self._client.server, extra=log_fields("svix.available"))
                return

    async def _ask(self) -> None:
        from svix.api import EventTypeListOptions

        client = self._client
        with client.for_relay():
            await client.call(client.sdk.event_type.list, EventTypeListOptions(limit=1, with_content=False))
        self.problem = None
        if client.self_hosted and await client.filters_by_type() is False:
            self.problem = (
                f"The Svix server at {client.server} is older than 1.99. It ignores filters by event type and lacks "
                "calls. Upgrade it to 1.99 or later."
            )
            logger.error("%s", self.problem, extra=log_fields("svix.outdated"))
        self.answered = True
