"""Clients that do not read use a limited amount of memory, and do not delay others."""

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

from starlette_webhooks.client import SyncClient
from tests import plain
from tests.eventually import wait_for
from tests.hosts import MOUNT, bearer
from tests.servers import Server, serving

STREAM = f"{MOUNT}/events/stream"
MIB = 1_048_576


def emit(server: Server, tenant: str, size: int) -> str:
    """Emit an event of this size. Returns its id."""
    body = json.dumps({"filling": "x" * size})
    answer = plain.post(f"{server.url}/emit", content=body, headers={"X-User": tenant}, timeout=30)
    return str(answer.raise_for_status().json()["id"])


@contextmanager
def stalled(server: Server, path: str, count: int, *headers: str) -> Generator[list[socket.socket]]:
    """Clients of this path that never read."""
    sockets: list[socket.socket] = []
    lines = [f"GET {path} HTTP/1.1", "Host: localhost", f"Authorization: {bearer('acme')['Authorization']}", *headers]
    request = "\r\n".join([*lines, "", ""]).encode()
    try:
        for _ in range(count):
            connection = socket.socket()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(("127.0.0.1", server.port))
            connection.sendall(request)
            sockets.append(connection)
        yield sockets
    finally:
        for connection in sockets:
            connection.close()


def resume(server: Server, tenant: str, last: str, count: int) -> float:
    """Return the seconds until a client has this many missed events."""
    began = time.monotonic()
    headers = {**bearer(tenant), "Last-Event-ID": last}
    with plain.stream("GET", server.url + STREAM, headers=headers, timeout=10) as response:
        events = (line for line in response.iter_lines() if line.startswith("data: "))
        for _ in range(count):
            next(events)
    return time.monotonic() - began


def list_events(server: Server, tenant: str) -> float:
    """Return the seconds that a small page takes."""
    began = time.monotonic()
    answer = plain.get(f"{server.url}{MOUNT}/events", params={"limit": 3}, headers=bearer(tenant), timeout=10)
    assert len(answer.raise_for_status().json()["events"]) == 3
    return time.monotonic() - began


@pytest.mark.slow
def test_clients_that_never_read_large_replays_use_bounded_memory_and_delay_no_one(tmp_path: Path) -> None:
    budget, clients = 16 * MIB, 100
    with serving(
        tmp_path,
        page_memory_bytes=str(budget),
        stream_send_timeout="3",
        heartbeat="0.5",
        calls_per_second="0",
    ) as server:
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
        with stalled(server, STREAM, clients, f"Last-Event-ID: {first}"):
            end = time.monotonic() + 6
            while time.monotonic() < end:
                # The second time, what was missed comes from the memory of replays. The page never does.
                assert resume(server, "globex", last, 3) < 2
                assert list_events(server, "globex") < 2
                most = max(most, process.memory_info().rss - before)
            # For a connection that it cannot write to, a server buffers twice the size of one send.
            assert most < budget + clients * 4 * 65_536 + 16 * MIB


@pytest.mark.slow  # Blocking clients keep their memory for two seconds.
def test_a_client_that_loses_its_memory_to_another_tenant_resumes_and_misses_nothing(tmp_path: Path) -> None:
    # A page of one event takes more than half of the memory.
    with serving(tmp_path, page_memory_bytes=str(2 * MIB), heartbeat="0.5") as server:
        mine = [emit(server, "acme", MIB - 1000) for _ in range(14)]
        for _ in range(3):
            emit(server, "globex", 10)
        # The system buffers less than what is left.
        transport = httpx.HTTPTransport(socket_options=[(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)])
        retries: list[object] = []
        with (
            httpx.Client(transport=transport) as http,
            SyncClient(server.url + MOUNT, "acme", http=http) as client,
            client.stream(after=mine[0], on_retry=lambda error, seconds: retries.append(error)) as events,
        ):
            received = [next(events).id]
            # The system buffers a few pages. Once one has to stay in memory, the other tenant's page ends the stream.
            process = psutil.Process(server.process.pid)
            wait_for(lambda: list_events(server, "globex") < 8 and not is_connected(process))
            received += [next(events).id for _ in mine[2:]]
        assert received == mine[1:]
        assert retries, "it was cut off"


def is_connected(process: psutil.Process) -> bool:
    """Return whether a server has any client."""
    return any(one.status == psutil.CONN_ESTABLISHED for one in process.net_connections("tcp"))


@pytest.mark.slow
def test_clients_that_never_read_large_pages_use_bounded_memory_and_delay_no_one(tmp_path: Path) -> None:
    budget, clients = 48 * MIB, 40
    with serving(tmp_path, page_memory_bytes=str(budget), stream_send_timeout="1", calls_per_second="0") as server:
        for _ in range(10):
            emit(server, "acme", MIB - 1000)
        for _ in range(3):
            emit(server, "globex", 10)
        plain.get(f"{server.url}{MOUNT}/events", headers=bearer("acme")).raise_for_status()
        process = psutil.Process(server.process.pid)
        before = process.memory_info().rss
        most = 0
        with stalled(server, f"{MOUNT}/events", clients) as sockets:
            end = time.monotonic() + 3
            while time.monotonic() < end:
                assert list_events(server, "globex") < 2
                most = max(most, process.memory_info().rss - before)
            assert most < budget + clients * 4 * 65_536 + 16 * MIB
            assert any(is_reset(one) for one in sockets), "clients that do not read are aborted"


@pytest.mark.slow
def test_clients_that_never_read_single_events_use_bounded_memory(tmp_path: Path) -> None:
    # Larger than what the system buffers for a connection.
    budget, clients, size = 32 * MIB, 40, 8 * MIB
    with serving(
        tmp_path, page_memory_bytes=str(budget), max_event_bytes=str(2 * size), stream_send_timeout="1"
    ) as server:
        event = emit(server, "acme", size)
        path = f"{MOUNT}/events/{event}"
        plain.get(server.url + path, headers=bearer("acme")).raise_for_status()
        process = psutil.Process(server.process.pid)
        before = process.memory_info().rss
        most = 0
        with stalled(server, path, clients) as sockets:
            end = time.monotonic() + 3
            while time.monotonic() < end:
                most = max(most, process.memory_info().rss - before)
                time.sleep(0.05)
            assert most < budget + clients * 4 * 65_536 + 16 * MIB
            assert any(map(is_reset, sockets)), "clients that do not read are aborted"


def is_reset(connection: socket.socket) -> bool:
    """Return whether the server has reset a connection, or ended it before the page was complete."""
    connection.settimeout(0.2)
    received = 0
    try:
        while data := connection.recv(65_536):
            received += len(data)
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False
    return received < 8 * MIB
