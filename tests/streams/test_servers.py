"""Streams over real sockets, and their end when a server stops."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from tests import plain
from tests.eventually import wait_for
from tests.servers import Server, answers, serving

APP = "tests.streams.app:app"
WORKERS = ["--workers", "2"]
END = b"\r\n0\r\n\r\n"


@contextmanager
def streaming(server: Server, *headers: str) -> Generator[socket.socket]:
    """An open stream, past its first bytes."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        lines = ["GET /stream/ HTTP/1.1", "Host: localhost", *headers, "", ""]
        connection.sendall("\r\n".join(lines).encode())
        read_until(connection, b"retry: ")
        yield connection


def read_until(connection: socket.socket, wanted: bytes | None) -> bytes:
    """Return what arrives, up to some text or the end of the connection."""
    data = b""
    end = time.monotonic() + 8
    while wanted is None or wanted not in data:
        assert time.monotonic() < end, data[-500:]
        received = connection.recv(65_536)
        if not received:
            assert wanted is None, data
            break
        data += received
    return data


def metrics(server: Server) -> dict[str, object]:
    """Return the metrics of the process that answers."""
    return dict(plain.get(f"{server.url}/metrics").json())


@pytest.mark.parametrize(
    ("name", "args"),
    [("uvicorn", []), ("uvicorn", WORKERS), ("gunicorn", []), ("granian", []), ("hypercorn", [])],
    ids=lambda value: str(value),
)
def test_a_server_with_open_streams_stops_immediately_and_ends_them_cleanly(
    name: str, args: list[str], tmp_path: Path
) -> None:
    with serving(tmp_path, server=name, app=APP, args=args) as server, ExitStack() as stack:
        connections = [stack.enter_context(streaming(server)) for _ in range(20)]
        began = time.monotonic()
        server.stop(5)
        assert time.monotonic() - began < 2
        for connection in connections:
            body = read_until(connection, None)
            assert body.endswith(END)
            assert b"retry: " in body


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("uvicorn", ["--limit-max-requests", "30"]),
        ("uvicorn", ["--limit-max-requests", "30", "--loop", "uvloop"]),
        ("gunicorn", ["--max-requests", "30"]),
        ("hypercorn", ["--max-requests", "30", "--graceful-timeout", "60"]),
        ("hypercorn", ["--max-requests", "30", "--graceful-timeout", "60", "--worker-class", "trio"]),
    ],
    ids=lambda value: str(value),
)
def test_a_server_at_its_limit_of_requests_ends_its_streams(name: str, args: list[str], tmp_path: Path) -> None:
    with serving(tmp_path, server=name, app=APP, args=args) as server, streaming(server) as connection:
        process = metrics(server)["pid"]
        for _ in range(40):
            try:
                began = time.monotonic()
                plain.get(f"{server.url}/metrics", timeout=0.5)
            except httpx.TransportError:
                break
        read_until(connection, END)
        connection.close()
        assert time.monotonic() - began < 2
        if name == "uvicorn":
            assert server.process.wait(2) == 0
        else:
            assert wait_for(lambda: answers(server) and metrics(server)["pid"]) != process


@pytest.mark.parametrize(
    "way",
    ["uvicorn_here", "uvicorn_in_a_thread", "hypercorn_on_asyncio", "hypercorn_on_trio", "granian_embedded"],
)
def test_a_server_that_a_program_stops_ends_its_streams(way: str, tmp_path: Path) -> None:
    with serving(tmp_path, server="stopping", app=way) as server, streaming(server) as connection:
        began = time.monotonic()
        plain.post(f"{server.url}/stop")
        read_until(connection, END)
        connection.close()
        server.process.wait(5)
        assert time.monotonic() - began < 2


def test_a_stream_continues_while_one_of_two_servers_continues(tmp_path: Path) -> None:
    with serving(tmp_path, server="stopping", app="two_servers") as server, streaming(server) as connection:
        plain.post(f"{server.url}/stop")
        wait_for(lambda: plain.get(f"{server.url}/stopped").json())
        for _ in range(2):
            read_until(connection, b": heartbeat")
        last = plain.post(f"{server.url}/emit/1").json()["last"]
        read_until(connection, last.encode())


@pytest.mark.parametrize("name", ["uvicorn", "granian", "hypercorn"])
def test_events_arrive_live_and_a_client_resumes_where_it_was_disconnected(name: str, tmp_path: Path) -> None:
    with serving(tmp_path, server=name, app=APP) as server:
        with streaming(server) as connection:
            last = plain.post(f"{server.url}/emit/3").json()["last"]
            body = read_until(connection, last.encode())
            assert body.count(b"\ndata: ") == 3
            assert b": heartbeat" in read_until(connection, b": heartbeat")
        plain.post(f"{server.url}/emit/2")
        with streaming(server, f"Last-Event-ID: {last}") as connection:
            newest = plain.post(f"{server.url}/emit/1").json()["last"]
            assert read_until(connection, newest.encode()).count(b"id: msg_") <= 3


@pytest.mark.parametrize("name", ["uvicorn", "granian"])
def test_a_connection_that_is_reset_frees_its_slot(name: str, tmp_path: Path) -> None:
    with serving(tmp_path, server=name, app=APP) as server:
        for _ in range(20):
            with streaming(server) as connection:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        wait_for(lambda: metrics(server)["streams"] == 0)
        assert metrics(server)["closed"] == {"disconnected": 20}


def test_head_answers_without_a_stream(tmp_path: Path) -> None:
    with serving(tmp_path, app=APP) as server:
        answer = plain.head(f"{server.url}/stream/", timeout=2)
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert metrics(server)["opened"] == 0


def test_a_reader_that_never_reads_does_not_delay_others_or_the_shutdown(tmp_path: Path) -> None:
    with serving(tmp_path, app=APP) as server, streaming(server) as stuck, streaming(server) as well:
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        last = ""
        for _ in range(10):
            last = plain.post(f"{server.url}/emit/100", params={"size": 20_000}).json()["last"]
            read_until(well, f"id: {last}".encode())
        began = time.monotonic()
        server.stop(5)
        assert time.monotonic() - began < 3
