"""A Svix server for tests: real HTTP on loopback, the behaviour of svix-server 1.100, and faults on demand."""

from __future__ import annotations

import json
import math
import re
import threading
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any, TypeAlias
from urllib.parse import parse_qsl

import anyio
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from tests.backends.svix import fake_routes
from tests.backends.svix.fake_state import FakeState
from tests.backends.svix.fake_store import DropConnection, Refusal

TOKEN = "testsk_fake"

_GLANCE = 0.05

Handler: TypeAlias = Callable[[FakeState, Request, Any], Any]


@dataclass
class Fault:
    """A fault of some calls.

    Attributes:
        commit: Whether the call takes effect, although the response is faulty.
    """

    method: str | None
    path: re.Pattern[str]
    times: float
    status: int | None
    body: bytes
    headers: dict[str, str]
    drop: bool
    delay: float
    commit: bool


@dataclass
class Call:
    """A call as it was received."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


class FakeSvix(FakeState):
    """The server and its faults."""

    url: str

    def __init__(self) -> None:
        self._app = Starlette(
            routes=[
                Route(path, self._endpoint(handler), methods=[method]) for method, path, handler in fake_routes.ROUTES
            ]
        )
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        super().reset()
        self.calls: list[Call] = []
        self.running_calls = 0
        self.most_at_once = 0
        self._faults: list[Fault] = []
        self._answers: dict[tuple[str, str], tuple[int, bytes]] = {}

    # For tests

    def fail(
        self,
        path: str = "",
        *,
        method: str | None = None,
        times: float = 1,
        status: int | None = 500,
        body: bytes = b"{}",
        headers: dict[str, str] | None = None,
        drop: bool = False,
        delay: float = 0.0,
        commit: bool = False,
    ) -> None:
        """Make the next calls with a matching path fail. `status=None` with a delay only slows them down."""
        pattern = re.compile(path)
        self._faults.append(Fault(method, pattern, times, status, body, headers or {}, drop, delay, commit))

    def go_down(self) -> None:
        """Close every connection without an answer, until `heal`."""
        self.fail(times=math.inf, drop=True)

    def heal(self) -> None:
        """End all faults."""
        self._faults.clear()

    def calls_to(self, path: str, method: str | None = None) -> list[Call]:
        """The calls whose path matches."""
        return [call for call in self.calls if re.search(path, call.path) and method in (None, call.method)]

    # Serving

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        body = await _read(receive)
        query = dict(parse_qsl(scope["query_string"].decode(), keep_blank_values=True))
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        self.calls.append(Call(scope["method"], scope["path"], query, headers, json.loads(body) if body else None))
        self.running_calls += 1
        self.most_at_once = max(self.most_at_once, self.running_calls)
        try:
            await self._answer(scope, body, headers, send)
        except DropConnection:
            send.__self__.transport.abort()  # type: ignore[attr-defined]
            await receive()
        finally:
            self.running_calls -= 1

    async def _answer(self, scope: Scope, body: bytes, headers: dict[str, str], send: Send) -> None:
        fault = self._fault(scope)
        if fault is not None and not fault.commit:
            await self._delay(fault)
        if fault is None or fault.commit or fault.status is None:
            status, content = await self._idempotent(scope, body, headers)
        if fault is not None and fault.commit:
            await self._delay(fault)
        if fault is not None and fault.drop:
            raise DropConnection
        extra = {}
        if fault is not None and fault.status is not None:
            status, content, extra = fault.status, fault.body, fault.headers
        await _respond(send, status, content, {"date": formatdate(self.clock(), usegmt=True)} | extra)

    async def _delay(self, fault: Fault) -> None:
        end = anyio.current_time() + fault.delay
        # A test that ends does not leave slow calls behind.
        while (left := end - anyio.current_time()) > 0 and fault in self._faults:
            await anyio.sleep(min(left, _GLANCE))

    def _fault(self, scope: Scope) -> Fault | None:
        for fault in self._faults:
            if fault.times > 0 and fault.method in (None, scope["method"]) and fault.path.search(scope["path"]):
                fault.times -= 1
                return fault
        return None

    async def _idempotent(self, scope: Scope, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        key = headers.get("idempotency-key", "")
        known = (key, f"{scope['path']}?{scope['query_string'].decode()}")
        if scope["method"] == "POST" and key and known in self._answers:
            return self._answers[known]
        answer = await self._route(scope, body, headers)
        if scope["method"] == "POST" and key and 200 <= answer[0] < 300:
            self._answers[known] = answer
        return answer

    async def _route(self, scope: Scope, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        open_paths = ("/api/v1/openapi.json", "/api/v1/health")
        if scope["path"] not in open_paths and headers.get("authorization") != f"Bearer {TOKEN}":
            return 401, json.dumps({"code": "authentication_failed", "detail": "Invalid token"}).encode()
        status, content = 500, b""

        async def receive() -> Any:
            return {"type": "http.request", "body": body}

        async def send(message: Any) -> None:
            nonlocal status, content
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                content += message.get("body", b"")

        await self._app(scope, receive, send)
        # No fallback is set on the server: unknown routes have an empty body.
        return (status, b"") if content in (b"Not Found", b"Method Not Allowed") else (status, content)

    def _endpoint(self, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            raw = await request.body()
            try:
                result = handler(self, request, json.loads(raw) if raw else {})
            except Refusal as exc:
                return JSONResponse(exc.body, exc.status)
            status, content = result if isinstance(result, tuple) else (200, result)
            return Response(status_code=status) if content is None else JSONResponse(content, status)

        return endpoint

    @contextmanager
    def running(self) -> Generator[FakeSvix]:
        """Serve on a free port of 127.0.0.1, on a thread."""
        config = uvicorn.Config(
            self, host="127.0.0.1", port=0, log_level="critical", lifespan="off", ws="none", date_header=False
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.005)
        self.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.should_exit = True
            server.force_exit = True
            thread.join(5)


async def _read(receive: Receive) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


async def _respond(send: Send, status: int, content: bytes, headers: dict[str, str]) -> None:
    fields = {"content-type": "application/json", "content-length": str(len(content))} | headers
    if status == 204:
        del fields["content-length"]
    raw = [(name.encode(), value.encode()) for name, value in fields.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": content})
