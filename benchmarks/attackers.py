"""What one customer's key can ask of a server, as a process: `attackers NAME PORT SECONDS`. It prints the answers."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import httpx

MOUNT = "/api/v1/webhooks"
KEY = {"Authorization": "Bearer mallory"}
_PAST = "2020-01-01T00:00:00Z"

Call = Callable[[httpx.AsyncClient, int], Awaitable[httpx.Response]]


def _test(data: dict[str, Any]) -> Call:
    async def call(client: httpx.AsyncClient, n: int) -> httpx.Response:
        return await client.post(f"{MOUNT}/test", json={"eventType": "order.created", "data": data})

    return call


def _nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {"a": value}
    return value


async def _recover(client: httpx.AsyncClient, n: int) -> httpx.Response:
    url = f"{MOUNT}/endpoints/{await _any_endpoint(client)}/recover"
    return await client.post(url, json={"since": _PAST, "missing": True}, timeout=0.5 if n % 2 else 30)


async def _patch(client: httpx.AsyncClient, n: int) -> httpx.Response:
    endpoint = await _any_endpoint(client)
    body = {
        "eventTypes": [f"thing.kind_{number}" for number in range(n % 2, 100)],
        "channels": [f"channel-{number}" for number in range(10)],
    }
    return await client.patch(f"{MOUNT}/endpoints/{endpoint}", json=body)


async def _unknown(client: httpx.AsyncClient, n: int) -> httpx.Response:
    return await client.get(f"{MOUNT}/events", params={"event_type": f"thing.kimd_{n}" + "x" * 150})


async def _document(client: httpx.AsyncClient, n: int) -> httpx.Response:
    return await client.get(f"{MOUNT}/openapi.json", headers={"Authorization": ""})


async def _silent(client: httpx.AsyncClient, n: int) -> httpx.Response:
    if n % 2 == 0:
        return await client.post(f"{MOUNT}/test", json={})
    return await client.post(f"{MOUNT}/endpoints", json={"url": f"https://{uuid4().hex}.silent.test/"})


_FULL = {
    "url": "https://example.com/" + "x" * 2000,
    "description": "é" * 1024,
    "eventTypes": [f"thing.kind_{number}" for number in range(100)],
    "channels": [f"channel-{number}" for number in range(10)],
    "metadata": {f"key-{number}": "x" * 20 for number in range(150)},
    "headers": {f"x-{number}-{'x' * 100}": "x" * 4000 for number in range(20)},
}


async def _churn(client: httpx.AsyncClient, n: int) -> httpx.Response:
    made = await client.post(f"{MOUNT}/endpoints", json=_FULL)
    if made.status_code != 201:
        return made
    return await client.delete(f"{MOUNT}/endpoints/{made.json()['id']}")


async def _full(client: httpx.AsyncClient, n: int) -> httpx.Response:
    if n <= 3:
        return await client.post(f"{MOUNT}/endpoints", json=_FULL)
    return await client.get(f"{MOUNT}/endpoints", params={"limit": 250})


async def _headers(client: httpx.AsyncClient, n: int) -> httpx.Response:
    endpoint = await _any_endpoint(client)
    body = {"headers": _FULL["headers"], "description": str(n)}
    return await client.patch(f"{MOUNT}/endpoints/{endpoint}", json=body)


_WRONG = {f"field-{number}": number for number in range(6000)}


async def _wrong(client: httpx.AsyncClient, n: int) -> httpx.Response:
    return await client.post(f"{MOUNT}/endpoints", json=_WRONG)


async def _search(client: httpx.AsyncClient, n: int) -> httpx.Response:
    types = ",".join(f"thing.kind_{number}" for number in range(20))
    return await client.get(f"{MOUNT}/events", params={"event_type": types, "channel": "none", "limit": 250})


async def _attempts(client: httpx.AsyncClient, n: int) -> httpx.Response:
    endpoint = await _any_endpoint(client)
    return await client.get(f"{MOUNT}/endpoints/{endpoint}/attempts", params={"status_code_class": 3})


async def _states(client: httpx.AsyncClient, n: int) -> httpx.Response:
    return await client.get(f"{MOUNT}/events/search", params={"state": "exhausted", "limit": 250})


async def _query(client: httpx.AsyncClient, n: int) -> httpx.Response:
    return await client.get(f"{MOUNT}/events?{'a&' * 8000}", headers={"Authorization": ""})


async def _cookies(client: httpx.AsyncClient, n: int) -> httpx.Response:
    return await client.get(f"{MOUNT}/events", headers={"Authorization": "", "Cookie": "; ".join(["a=1"] * 6000)})


async def _lists(client: httpx.AsyncClient, n: int) -> httpx.Response:
    return await client.get(f"{MOUNT}/events", params={"limit": 250})


async def _deleted(client: httpx.AsyncClient, n: int) -> httpx.Response:
    made = await client.post(f"{MOUNT}/endpoints", json={"url": "http://127.0.0.1:9/", "eventTypes": ["thing.kind_1"]})
    if made.status_code != 201:
        return made
    path = f"{MOUNT}/endpoints/{made.json()['id']}"
    await client.post(f"{path}/recover", json={"since": _PAST, "missing": True})
    return await client.delete(path)


async def _reconnect(client: httpx.AsyncClient, n: int) -> httpx.Response:
    headers = {"Last-Event-ID": "msg_" + "0" * 27} if n % 2 else {}
    async with client.stream("GET", f"{MOUNT}/events/stream", headers=headers) as response:
        async for _ in response.aiter_bytes():
            break
    return response


async def _any_endpoint(client: httpx.AsyncClient) -> str:
    answer = await client.get(f"{MOUNT}/endpoints", params={"limit": 1})
    return str(answer.json()["endpoints"][0]["id"])


async def _amplify(client: httpx.AsyncClient, n: int) -> httpx.Response:
    endpoint = await _any_endpoint(client)
    if n % 4 == 0:
        return await client.patch(f"{MOUNT}/endpoints/{endpoint}", json={"description": str(n)})
    if n % 4 == 1:
        return await client.post(f"{MOUNT}/endpoints/{endpoint}/test", json={})
    if n % 4 == 2:
        return await client.post(f"{MOUNT}/endpoints/{endpoint}/recover", json={"since": _PAST, "missing": True})
    event = (await client.get(f"{MOUNT}/events", params={"limit": 1})).json()["events"][0]["id"]
    return await client.post(f"{MOUNT}/events/{event}/endpoints/{endpoint}/resend")


CALLS: dict[str, tuple[int, Call]] = {
    "unique": (8, _test({"items": [{"n": n} for n in range(2000)]})),
    "pattern": (8, _test({"name": "a" * 5000 + "!"})),
    "nested": (8, _test(_nested(300))),
    "large": (120, _test({"filling": "x" * 1_000_000})),
    "recover": (16, _recover),
    "patch": (16, _patch),
    "unknown": (8, _unknown),
    "document": (8, _document),
    "silent": (500, _silent),
    "churn": (16, _churn),
    "full": (16, _full),
    "headers": (16, _headers),
    "wrong": (16, _wrong),
    "search": (16, _search),
    "attempts": (16, _attempts),
    "states": (16, _states),
    "query": (16, _query),
    "cookies": (16, _cookies),
    "lists": (16, _lists),
    "deleted": (16, _deleted),
    "reconnect": (50, _reconnect),
    "amplify": (16, _amplify),
}
"""By name: how many callers, and what they call."""


async def calls(name: str, port: int, seconds: float) -> dict[str, int]:
    """Call as fast as the answers come. Returns how often each status came."""
    callers, call = CALLS[name]
    statuses: Counter[str] = Counter()
    end = time.monotonic() + seconds
    limits = httpx.Limits(max_connections=None)

    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{port}", headers=KEY, limits=limits, timeout=30, trust_env=False
    ) as client:

        async def run() -> None:
            n = 0
            while time.monotonic() < end:
                n += 1
                try:
                    statuses[str((await call(client, n)).status_code)] += 1
                except (httpx.HTTPError, LookupError) as exc:
                    statuses[type(exc).__name__] += 1

        await asyncio.gather(*[run() for _ in range(callers)])
    return dict(statuses)


REQUESTS = {
    "pages": (100, f"GET {MOUNT}/events HTTP/1.1", ""),
    "replays": (100, f"GET {MOUNT}/events/stream HTTP/1.1", f"Last-Event-ID: msg_{'0' * 27}\r\n"),
    "bodies": (150, f"POST {MOUNT}/test HTTP/1.1", "Content-Length: 1000000\r\nContent-Type: application/json\r\n"),
}
"""By name: how many connections, and what they send; none of them reads."""


def stalled(name: str, port: int, seconds: float) -> dict[str, int]:
    """Send requests, and read no answers. Returns how many connections the server ended."""
    count, first, more = REQUESTS[name]
    request = f"{first}\r\nHost: localhost\r\nAuthorization: Bearer mallory\r\n{more}\r\n".encode()
    sockets = []
    end = time.monotonic() + seconds
    for _ in range(count):
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", port))
        connection.sendall(request + (b"{" if name == "bodies" else b""))
        sockets.append(connection)
    time.sleep(max(end - time.monotonic(), 0))
    ended = 0
    for connection in sockets:
        connection.setblocking(False)
        try:
            while data := connection.recv(1_048_576):
                if data.startswith(b"HTTP/1.1 4"):
                    break
            ended += 1
        except BlockingIOError:
            pass
        except ConnectionError:
            ended += 1
        connection.close()
    return {"connections": count, "ended": ended}


def main() -> None:
    """Run as a process."""
    name, port, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    if name in CALLS:
        print(json.dumps(asyncio.run(calls(name, port, seconds))))
    else:
        print(json.dumps(stalled(name, port, seconds)))


if __name__ == "__main__":
    main()
