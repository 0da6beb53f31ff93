"""The receiver of all tests: a real HTTP server that records requests and answers as the test wants."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

from starlette_webhooks.testing.server import Answer, PostServer


@dataclass
class Received:
    """One request that a receiver got."""

    path: str
    headers: dict[str, str]
    body: bytes
    at: float = field(default_factory=time.monotonic)


class Receiver:
    """Keeps requests. Unlike `testing.Receiver`, it verifies nothing, and can answer each one differently.

    Attributes:
        status, headers: What it answers with.
        answer: Returns the status for a request, if it differs between requests.
    """

    def __init__(self) -> None:
        self.requests: list[Received] = []
        self.status = 200
        self.headers: dict[str, str] = {}
        self.answer: Callable[[Received], int] | None = None
        self.server = PostServer(self._take)

    def _take(self, path: str, headers: dict[str, str], body: bytes) -> Answer:
        request = Received(path, headers, body)
        self.requests.append(request)
        return self.status if self.answer is None else self.answer(request), self.headers, b"ok"

    @property
    def url(self) -> str:
        return f"{self.server.url}/hook"

    def ids(self) -> list[str]:
        """The `webhook-id` of each request."""
        return [request.headers["webhook-id"] for request in list(self.requests)]


@contextmanager
def receiving() -> Generator[Receiver]:
    """Run a receiver until the block ends."""
    receiver = Receiver()
    with receiver.server.running():
        yield receiver
