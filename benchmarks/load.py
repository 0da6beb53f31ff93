"""Cheap clients: raw sockets on one epoll. They run as processes and print their figures as JSON.

`http` keeps connections open that send the same request again as soon as it is answered. The CPU time of the server is
read at both ends of the measured window, so startup and warm-up do not count.
"""

from __future__ import annotations

import argparse
import json
import select
import socket
import time
from typing import Any

import psutil  # type: ignore[import-untyped]

__all__ = ["call_http", "cpu_seconds", "percentile", "request_bytes"]


def percentile(values: list[float], share: float) -> float:
    """Return a percentile of sorted values."""
    return values[min(int(len(values) * share), len(values) - 1)] if values else 0.0


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process and its children, including those that have ended."""
    process = psutil.Process(pid)
    total: float = sum(process.cpu_times()[:4])
    for child in process.children(recursive=True):
        total += sum(child.cpu_times()[:2])
    return total


def request_bytes(port: int, path: str, body: bytes, method: str = "POST") -> bytes:
    """Return a request with a body."""
    head = f"{method} {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


class _Caller:
    __slots__ = ("answer", "began", "sock")

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.answer = b""
        self.began = 0.0


def call_http(port: int, request: bytes, connections: int, seconds: float, warm_up: float, pid: int) -> dict[str, Any]:
    """Send the same request on all connections for a while."""
    epoll = select.epoll()
    callers = {}
    for _ in range(connections):
        caller = _Caller(port)
        callers[caller.sock.fileno()] = caller
        epoll.register(caller.sock, select.EPOLLIN)
    clock = time.perf_counter
    started = clock()
    opens, ends = started + warm_up, started + warm_up + seconds
    for caller in callers.values():
        caller.began = clock()
        caller.sock.send(request)
    latencies: list[float] = []
    measuring = False
    size = 0
    cpu = own = 0.0
    while True:
        for fd, _ in epoll.poll(1):
            caller = callers[fd]
            data = caller.sock.recv(65536)
            if not data:
                raise RuntimeError("The server closed the connection.")
            if caller.answer or len(data) != size:
                caller.answer += data
                if not (size and len(caller.answer) == size):
                    if not _is_whole(caller.answer):
                        continue
                    size = len(caller.answer)
                caller.answer = b""
            now = clock()
            if measuring:
                latencies.append(now - caller.began)
            caller.began = now
            caller.sock.send(request)
        now = clock()
        if not measuring and now >= opens:
            measuring = True
            opens, cpu, own = now, cpu_seconds(pid), time.process_time()
        elif measuring and now >= ends and latencies:
            cpu, own, ends = cpu_seconds(pid) - cpu, time.process_time() - own, now
            break
    latencies.sort()
    count, window = len(latencies), ends - opens
    return {
        "rate": count / window,
        "cpu_us": cpu / count * 1e6,
        "p50_ms": percentile(latencies, 0.5) * 1e3,
        "p99_ms": percentile(latencies, 0.99) * 1e3,
        "client_cpu": own / window * 100,
        "server_cpu": cpu / window * 100,
    }


def _is_whole(answer: bytes) -> bool:
    head, mark, body = answer.partition(b"\r\n\r\n")
    if not mark:
        return False
    if not head.startswith(b"HTTP/1.1 2"):
        raise RuntimeError(f"The server answered {answer[:500]!r}.")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return bool(lengths) and len(body) >= int(lengths[0].split(b":")[1])


def main() -> None:
    """Run as a process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--pid", type=int, required=True)
    parser.add_argument("--path", required=True)
    parser.add_argument("--method", default="POST")
    parser.add_argument("--body", default="")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--warm-up", type=float, default=0.5)
    given = parser.parse_args()
    request = request_bytes(given.port, given.path, given.body.encode(), given.method)
    print(json.dumps(call_http(given.port, request, given.connections, given.seconds, given.warm_up, given.pid)))


if __name__ == "__main__":
    main()
