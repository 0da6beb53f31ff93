"""What clients that do not read cost: memory within its bound, and no time of others."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil  # type: ignore[import-untyped]
import pytest

from tests.hosts import MOUNT, bearer
from tests.servers import Server, serving

STREAM = f"{MOUNT}/events/stream"
MIB = 1_048_576


def emit(server: Server, tenant: str, size: int) -> str:
    """Emit an event of this size. Returns its id."""
    body = json.dumps({"filling": "x" * size})
    answer = httpx.post(f"{server.url}/emit", content=body, headers={"X-User": tenant}, timeout=30)
    return str(answer.raise_for_status().json()["id"])


@contextmanager
def stalled(server: Server, last: str, count: int) -> Generator[None]:
    """Clients that resume after this event, and never read."""
    sockets = []
    lines = [
        f"GET {STREAM} HTTP/1.1",
        "Host: localhost",
        f"Authorization: {bearer('acme')['Authorization']}",
        f"Last-Event-ID: {last}",
    ]
    request = "\r\n".join([*lines, "", ""]).encode()
    try:
        for _ in range(count):
            connection = socket.socket()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(("127.0.0.1", server.port))
            connection.sendall(request)
            sockets.append(connection)
        yield
    finally:
        for connection in sockets:
            connection.close()


def resume(server: Server, tenant: str, last: str, count: int) -> float:
    """Seconds until a client has so many events that it missed."""
    began = time.monotonic()
    headers = {**bearer(tenant), "Last-Event-ID": last}
    with httpx.stream("GET", server.url + STREAM, headers=headers, timeout=10) as response:
        events = (line for line in response.iter_lines() if line.startswith("data: "))
        for _ in range(count):
            next(events)
    return time.monotonic() - began


@pytest.mark.slow
def test_clients_that_never_read_large_replays_cost_bounded_memory_and_nobodys_time(tmp_path: Path) -> None:
    budget, clients = 16 * MIB, 100
    with serving(tmp_path, page_memory_bytes=str(budget), stream_send_timeout="3", heartbeat="0.5") as server:
        first = emit(server, "acme", 10)
        for _ in range(30):
            emit(server, "acme", MIB - 1000)
        last = emit(server, "globex", 10)
        for _ in range(3):
            emit(server, "globex", 10)
        resume(server, "acme", first, 30)
        process = psutil.Process(server.process.pid)
        before = process.memory_info().rss
        most = 0
        with stalled(server, first, clients):
            end = time.monotonic() + 6
            while time.monotonic() < end:
                assert resume(server, "globex", last, 3) < 2
                most = max(most, process.memory_info().rss - before)
            # What a server keeps for a connection that it cannot write to is twice what one send carries.
            assert most < budget + clients * 4 * 65_536 + 16 * MIB
