"""`Receiver`, a real HTTP server that receives the webhooks of a test and verifies their signatures."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anyio import to_thread

from starlette_webhooks.signing import VerificationError, generate_secret, verify
from starlette_webhooks.testing.server import Answer, PostServer

if TYPE_CHECKING:
    from starlette_webhooks.types import Clock

__all__ = ["Delivery", "Receiver", "receiving"]


@dataclass(frozen=True, slots=True)
class Delivery:
    """A genuine request to the receiver.

    Attributes:
        id: The event's id, which is the same for each attempt.
        number: The number of the attempt at this receiver, starting with 1.
        status: The status of the response.
        headers: The headers, with names in lower case.
        body: The signed bytes.
    """

    id: str
    number: int
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def payload(self) -> dict[str, Any]:
        """The body, decoded: `{"type", "timestamp", "data"}`."""
        payload: dict[str, Any] = json.loads(self.body)
        return payload

    @property
    def event_type(self) -> str:
        """The name of the event type."""
        return str(self.payload["type"])

    @property
    def data(self) -> Any:
        """The data of the event."""
        return self.payload["data"]


class Receiver:
    """Receives webhooks like a customer: verifies signatures, keeps genuine webhooks, and refuses others.

    Attributes:
        secret: The secret that deliveries must be signed with.
        rejected: The reasons why requests were refused with 400.
    """

    def __init__(self, *, clock: Clock = time.time) -> None:
        self.secret = generate_secret()
        self.rejected: list[str] = []
        self._clock = clock
        self._deliveries: list[Delivery] = []
        self._changed = threading.Condition()
        self._failures: float = 0
        self._answer: tuple[int, dict[str, str]] = (500, {})
        self._server = PostServer(self._take)

    @property
    def url(self) -> str:
        """The URL on loopback. `MemoryBackend` delivers there. Other backends need `WEBHOOKS_ALLOW_NETWORKS`."""
        return f"{self._server.url}/webhooks"

    @property
    def endpoint(self) -> dict[str, Any]:
        """The body of a `POST /endpoints` that registers this receiver."""
        return {"url": self.url, "secret": self.secret}

    @property
    def deliveries(self) -> list[Delivery]:
        """The received deliveries in order, one per attempt."""
        with self._changed:
            return list(self._deliveries)

    def fail(self, times: int | None = None, *, status: int = 500, headers: Mapping[str, str] | None = None) -> None:
        """Answer the next requests with an error.

        Args:
            times: How many requests. All until `succeed` by default.
            status: The status of the answers.
            headers: More headers of the answers, such as `Retry-After`.
        """
        with self._changed:
            self._failures = float("inf") if times is None else times
            self._answer = (status, dict(headers or {}))

    def succeed(self) -> None:
        """Answer with 204 again."""
        with self._changed:
            self._failures = 0

    def clear(self) -> None:
        """Forget the received deliveries."""
        with self._changed:
            self._deliveries.clear()
            self.rejected.clear()

    def wait_for(self, count: int = 1, *, timeout: float = 5.0) -> list[Delivery]:
        """Wait for this many deliveries since the last `clear`, and return them.

        For sync tests. In async tests, use `await receiver.received(count)`.

        Raises:
            AssertionError: Fewer arrived within `timeout` seconds, or a request was rejected.
        """
        with self._changed:
            self._changed.wait_for(lambda: len(self._deliveries) >= count or self.rejected, timeout)
            if len(self._deliveries) >= count:
                return list(self._deliveries)
            came = [f"  {each.event_type} {each.id}, attempt {each.number}: {each.status}" for each in self._deliveries]
            came += [f"  rejected: {reason}" for reason in self.rejected]
        raise AssertionError("\n".join([f"Expected {count} deliveries, received {len(came)}.", *came]))

    async def received(self, count: int = 1, *, timeout: float = 5.0) -> list[Delivery]:
        """Like `wait_for`, for async code."""
        return await to_thread.run_sync(lambda: self.wait_for(count, timeout=timeout))

    @contextmanager
    def running(self) -> Iterator[None]:
        """Receive until the block ends."""
        with self._server.running():
            yield

    def _take(self, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        try:
            verify(self.secret, headers, body, now=self._clock())
        except VerificationError as exc:
            with self._changed:
                self.rejected.append(str(exc))
                self._changed.notify_all()
            return 400, {}, b""
        identifier = headers.get("webhook-id") or headers["svix-id"]
        with self._changed:
            status, extra = 204, dict[str, str]()
            if self._failures > 0:
                self._failures -= 1
                status, extra = self._answer
            number = 1 + sum(each.id == identifier for each in self._deliveries)
            self._deliveries.append(Delivery(identifier, number, status, headers, body))
            self._changed.notify_all()
        return status, extra, b""


@contextmanager
def receiving(*, clock: Clock = time.time) -> Iterator[Receiver]:
    """Run a receiver until the block ends.

    Args:
        clock: The clock by which timestamps must be recent.
    """
    receiver = Receiver(clock=clock)
    with receiver.running():
        yield receiver
