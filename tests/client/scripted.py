"""An API whose answers are what a test says, one after another."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

from starlette_webhooks.identifiers import mint

__all__ = ["EMPTY", "Answer", "Api", "event_of", "frame", "scripted_api", "stream"]


EMPTY = "msg_" + "0" * 26 + "1"
"""A position before all events."""


@dataclass(frozen=True)
class Answer:
    """One answer.

    Attributes:
        end: How the connection ends: normally, with a reset, or not before the client leaves.
    """

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    end: Literal["close", "reset", "hold"] = "close"


@dataclass(frozen=True)
class Request:
    """What a client asked for."""

    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes


def event_of(number: int, identifier: str | None = None) -> dict[str, Any]:
    """An event as the API describes it."""
    time = "2026-11-23T21:50:00.000Z"
    payload = {"type": "invoice.paid", "timestamp": time, "data": {"number": number}}
    return {"id": identifier or mint("msg_"), "eventType": "invoice.paid", "payload": payload, "timestamp": time}


def frame(event: dict[str, Any]) -> bytes:
    """An event as a frame of a stream."""
    return b"id: %b\ndata: %b\n\n" % (event["id"].encode(), json.dumps(event).encode())


def stream(*parts: bytes, end: Literal["close", "reset", "hold"] = "close") -> Answer:
    """A stream of these frames."""
    return Answer(200, {"Content-Type": "text/event-stream; charset=utf-8"}, b"".join(parts), end)


class Api:
    """Answers requests for a path in the order of `then`. There has been no event, unless a test says otherwise.

    Attributes:
        requests: All requests so far.
        left: Is set when a client has left a connection that was held.
    """

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.left = threading.Event()
        self._answers: dict[str, deque[Answer]] = {}
        self._changed = threading.Condition()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.server.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def then(self, *answers: Answer, path: str = "/events/stream") -> None:
        """Answer the next requests for a path like this."""
        self._answers.setdefault(path, deque()).extend(answers)

    def to(self, path: str = "/events/stream") -> list[Request]:
        """The requests for a path."""
        return [request for request in self.requests if request.path == path]

    def take(self, request: Request) -> Answer:
        """Note a request, and return its answer."""
        self.requests.append(request)
        waiting = self._answers.get(request.path)
        if waiting:
            return waiting.popleft()
        if request.path == "/events/stream/position":
            return Answer(200, {}, b'{"lastEventId":"%b"}' % EMPTY.encode())
        return Answer(500, {}, b"Nothing more is in the script.")


def _handler(api: Api) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            parts = urlsplit(self.path)
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self.rfile.read(int(headers.get("content-length", 0)))
            answer = api.take(Request(parts.path, parse_qs(parts.query), headers, body))
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body)
            self.wfile.flush()
            if answer.end == "hold":
                # Returns when the client has closed its end.
                self.connection.recv(1)
                api.left.set()
            elif answer.end == "reset":
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()

        do_GET = do_POST = do_PATCH = do_DELETE = _answer

        def log_message(self, format: str, *args: Any) -> None:
            pass

        def finish(self) -> None:
            with suppress(OSError):
                super().finish()

    return Handler


@contextmanager
def scripted_api() -> Generator[Api]:
    """Serve until the block ends."""
    api = Api()
    thread = threading.Thread(target=api.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield api
    finally:
        api.server.shutdown()
        api.server.server_close()
        thread.join()
