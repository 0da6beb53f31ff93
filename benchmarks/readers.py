"""Thousands of SSE readers on one epoll, as a process. It counts the byte `~`, which each event contains once.

It is a closed loop: one POST makes the server send a burst to all readers, and the next one follows when every reader
    has
all of it. The CPU time of the server, read at both ends, is therefore that of exactly these frames.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import select
import socket
import time
from typing import Any

import psutil  # type: ignore[import-untyped]

from benchmarks.load import cpu_seconds, percentile, request_bytes


class Readers:
    """Open streams of one server.

    Args:
        path: Contains `{n}` for the number of the reader, modulo `distinct`.
        last_id: Resume each stream after this event.
    """

    def __init__(self, port: int, path: str, number: int, last_id: str | None = None, distinct: int = 1) -> None:
        self.port = port
        self.epoll = select.epoll()
        self.socks: dict[int, socket.socket] = {}
        self.received: dict[int, int] = {}
        self.ended: dict[int, bytes] = {}
        self.heads: dict[int, bytes] = {}
        resume = f"last-event-id: {last_id}\r\n" if last_id else ""
        head = f"host: 127.0.0.1:{port}\r\naccept: text/event-stream\r\n{resume}\r\n"
        requests = [f"GET {path.format(n=n)} HTTP/1.1\r\n{head}".encode() for n in range(distinct)]
        for start in range(0, number, 200):
            for n in range(start, min(start + 200, number)):
                sock = socket.create_connection(("127.0.0.1", port), 30)
                sock.send(requests[n % distinct])
                sock.setblocking(False)
                self.socks[sock.fileno()] = sock
                self.received[sock.fileno()] = 0
                self.epoll.register(sock, select.EPOLLIN)
            self.pump(0.0)
        deadline = time.monotonic() + 30
        while not all(fd in self.heads for fd in self.socks) and time.monotonic() < deadline:
            self.pump(0.1)

    def pump(self, timeout: float) -> int:
        """Read what has arrived. Returns the number of events."""
        total = 0
        for fd, _ in self.epoll.poll(timeout, 4096):
            try:
                data = self.socks[fd].recv(262_144)
            except ConnectionError:
                data = b""
            if not data:
                self.epoll.unregister(fd)
                self.ended[fd] = self.heads.get(fd, b"")
                continue
            # The last bytes say how a stream ended, and the first ones that it began.
            self.heads[fd] = data[-16:]
            count = data.count(b"~")
            if count:
                self.received[fd] += count
                total += count
        return total

    def burst(self, events: int, latencies: list[float]) -> None:
        """Make the server send a burst, and wait until all readers have it."""
        sock = socket.create_connection(("127.0.0.1", self.port))
        wanted = events * len(self.socks)
        began = time.perf_counter()
        sock.send(request_bytes(self.port, f"/burst?n={events}", b""))
        while wanted > 0:
            count = self.pump(20)
            if not count and time.perf_counter() - began > 20:
                raise RuntimeError(f"{wanted} frames are missing.")
            wanted -= count
            latencies.extend([time.perf_counter() - began] * min(count, 1000))
        sock.close()


def memory_kb(pid: int) -> float:
    """Resident memory."""
    return float(psutil.Process(pid).memory_info().rss / 1024)


def fan_out(given: argparse.Namespace) -> dict[str, Any]:
    """CPU per frame, latency, memory per connection."""
    before = memory_kb(given.pid)
    readers = Readers(given.port, given.path, given.readers, distinct=given.distinct)
    time.sleep(0.5)
    readers.pump(0)
    weight = (memory_kb(given.pid) - before) / given.readers
    for _ in range(3):
        readers.burst(given.burst, [])
    latencies: list[float] = []
    cpu, own, began = cpu_seconds(given.pid), time.process_time(), time.perf_counter()
    bursts = 0
    while time.perf_counter() - began < given.seconds:
        readers.burst(given.burst, latencies)
        bursts += 1
    cpu, own, wall = cpu_seconds(given.pid) - cpu, time.process_time() - own, time.perf_counter() - began
    frames = bursts * given.burst * given.readers
    latencies.sort()
    return {
        "cpu_us": cpu / frames * 1e6,
        "per_cpu_second": frames / cpu,
        "p50_ms": percentile(latencies, 0.5) * 1e3,
        "p99_ms": percentile(latencies, 0.99) * 1e3,
        "kb": weight,
        "client_cpu": own / wall * 100,
    }


def idle(given: argparse.Namespace) -> dict[str, Any]:
    """CPU of streams that only get heartbeats."""
    before = memory_kb(given.pid)
    readers = Readers(given.port, given.path, given.readers)
    deadline = time.monotonic() + min(given.seconds, 3)
    while time.monotonic() < deadline:
        readers.pump(0.05)
    weight = (memory_kb(given.pid) - before) / given.readers
    cpu, began = cpu_seconds(given.pid), time.monotonic()
    while time.monotonic() < began + given.seconds:
        readers.pump(0.05)
    cpu, wall = cpu_seconds(given.pid) - cpu, time.monotonic() - began
    return {"cpu": cpu / wall * 100, "kb": weight, "open": len(readers.socks) - len(readers.ended)}


def lag(given: argparse.Namespace) -> dict[str, Any]:
    """How late the server's loop is, while every reader gets two events a second."""
    readers = Readers(given.port, given.path, given.readers)
    readers.burst(1, [])
    _ask(given.port, "/lag")
    cpu, began = cpu_seconds(given.pid), time.monotonic()
    due = began
    while (due := due + 0.5) < began + given.seconds:
        readers.burst(1, [])
        while time.monotonic() < due:
            readers.pump(0.01)
    cpu, wall = cpu_seconds(given.pid) - cpu, time.monotonic() - began
    late = _ask(given.port, "/lag")
    return {"lag_p99_ms": late["p99_ms"], "lag_max_ms": late["max_ms"], "cpu": cpu / wall * 100}


def _ask(port: int, path: str) -> Any:
    with socket.create_connection(("127.0.0.1", port), 30) as sock:
        sock.send(request_bytes(port, path, b""))
        answer = b""
        while not answer.endswith(b"}"):
            answer += sock.recv(65536)
        return json.loads(answer.partition(b"\r\n\r\n")[2])


def across(given: argparse.Namespace) -> dict[str, Any]:
    """The time from a request that emits in one process to the frame from the other."""
    readers = Readers(given.port, given.path, 1)
    latencies: list[float] = []
    began = time.monotonic()
    while time.monotonic() < began + given.seconds:
        # An odd length, so that it does not run in step with the other process's clock.
        time.sleep(random.uniform(0.01, 0.04))
        with socket.create_connection(("127.0.0.1", given.emit_port), 30) as sock:
            sent = time.perf_counter()
            sock.send(request_bytes(given.emit_port, "/burst?n=1", b""))
            while not readers.pump(5):
                if time.perf_counter() - sent > 10:
                    raise RuntimeError("The frame is missing.")
            latencies.append(time.perf_counter() - sent)
    latencies.sort()
    return {
        "p50_ms": percentile(latencies, 0.5) * 1e3,
        "p99_ms": percentile(latencies, 0.99) * 1e3,
        "count": len(latencies),
    }


def end(given: argparse.Namespace) -> dict[str, Any]:
    """SIGTERM with open streams: the time until the process has ended, and how many streams ended cleanly."""
    readers = Readers(given.port, given.path, given.readers)
    process = psutil.Process(given.pid)
    began = time.monotonic()
    process.terminate()
    while len(readers.ended) < given.readers and time.monotonic() < began + 12:
        readers.pump(0.02)
    # Its parent does not wait for it yet, so it remains as a zombie.
    while process.status() != psutil.STATUS_ZOMBIE and time.monotonic() < began + 12:
        time.sleep(0.01)
    gone = time.monotonic() - began
    clean = sum(last.endswith(b"0\r\n\r\n") for last in readers.ended.values())
    return {"seconds": gone, "clean": clean / given.readers * 100}


def storm(given: argparse.Namespace) -> dict[str, Any]:
    """All readers resume together after an event that is a hundred events old."""
    sock = socket.create_connection(("127.0.0.1", given.port))
    sock.send(request_bytes(given.port, "/fill", b""))
    answer = b""
    while b"msg_" not in answer:
        answer += sock.recv(65536)
    last = answer[answer.index(b"msg_") :][:31].decode()
    keeper = Readers(given.port, given.path, 1, last)
    cpu, began = cpu_seconds(given.pid), time.perf_counter()
    readers = Readers(given.port, given.path, given.readers, last)
    deadline = time.monotonic() + 30
    while min(readers.received.values()) < 100 and time.monotonic() < deadline:
        readers.pump(0.05)
    wall, cpu = time.perf_counter() - began, cpu_seconds(given.pid) - cpu
    complete = sum(count == 100 for count in readers.received.values())
    del keeper
    return {"seconds": wall, "cpu_us": cpu / given.readers * 1e6, "complete": complete / given.readers * 100}


def main() -> None:
    """Run as a process."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["fan_out", "idle", "lag", "across", "end", "storm"])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--pid", type=int, required=True)
    parser.add_argument("--path", required=True)
    parser.add_argument("--readers", type=int, default=1000)
    parser.add_argument("--burst", type=int, default=1)
    parser.add_argument("--distinct", type=int, default=1)
    parser.add_argument("--emit-port", type=int)
    parser.add_argument("--seconds", type=float, default=3.0)
    given = parser.parse_args()
    print(json.dumps(globals()[given.what](given)))


if __name__ == "__main__":
    main()
