"""Events of answered requests are never lost: processes are killed while they answer, also with several writers."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import httpx
import pytest
from standardwebhooks import Webhook

from tests import plain
from tests.eventually import wait_for
from tests.hosts import MOUNT, bearer
from tests.receivers import Receiver, receiving
from tests.servers import Server, serving

ACME = bearer("acme")


def add_endpoint(server: Server, receiver: Receiver) -> str:
    """Create an endpoint and return its secret."""
    created = plain.post(f"{server.url}{MOUNT}/endpoints", json={"url": receiver.url}, headers=ACME).json()
    secret = plain.get(f"{server.url}{MOUNT}/endpoints/{created['id']}/secret", headers=ACME).json()
    return str(secret["key"])


def emit_until_it_dies(server: Server, answered: list[str]) -> None:
    with plain.Client(base_url=server.url, headers={"X-User": "acme"}) as client:
        number = 0
        while True:
            try:
                response = client.post("/emit", json={"n": number})
            except httpx.TransportError:
                return
            if response.status_code == 200:
                answered.append(response.json()["id"])
            number += 1


def listed(server: Server) -> set[str]:
    ids: set[str] = set()
    cursor = None
    while True:
        query = {"limit": "250"} if cursor is None else {"limit": "250", "cursor": cursor}
        page = plain.get(f"{server.url}{MOUNT}/events", params=query, headers=ACME).json()
        ids |= {event["id"] for event in page["events"]}
        if page["done"]:
            return ids
        cursor = page["nextCursor"]


def test_what_was_answered_before_a_kill_is_listed_and_delivered_after_a_restart(tmp_path: Path) -> None:
    answered: list[str] = []
    secret = ""
    with receiving() as receiver:
        for round_ in range(4):
            with serving(tmp_path, attempt_timeout="1") as server:
                secret = secret or add_endpoint(server, receiver)
                before = len(answered)
                threads = [threading.Thread(target=emit_until_it_dies, args=(server, answered)) for _ in range(4)]
                for thread in threads:
                    thread.start()
                wait_for(lambda before=before: len(answered) > before + 40)  # type: ignore[misc]
                time.sleep(0.02 * round_)
                server.kill()
                for thread in threads:
                    thread.join(10)
        with serving(tmp_path, attempt_timeout="1") as server:
            assert len(answered) > 160
            assert set(answered) <= listed(server)
            wait_for(lambda: set(answered) <= set(receiver.ids()), 30)
    verifier = Webhook(secret)
    for request in receiver.requests[-50:]:
        assert verifier.verify(request.body, request.headers)["type"] == "invoice.paid"


@pytest.mark.parametrize("args", [["--workers", "2"]])
def test_workers_that_share_a_file_share_the_log_the_stream_and_the_work(tmp_path: Path, args: list[str]) -> None:
    with receiving() as receiver, serving(tmp_path, args=args) as server:
        add_endpoint(server, receiver)
        answered: list[str] = []
        opened: list[int] = []
        streamed: list[str] = []
        stop = threading.Event()

        def read_stream() -> None:
            with plain.stream("GET", f"{server.url}{MOUNT}/events/stream", headers=ACME, timeout=20) as response:
                opened.append(response.status_code)
                for line in response.iter_lines():
                    if line.startswith("data: "):
                        streamed.append(json.loads(line[6:])["id"])
                    if stop.is_set():
                        return

        readers = [threading.Thread(target=read_stream) for _ in range(4)]
        for reader in readers:
            reader.start()
        wait_for(lambda: opened == [200] * 4)
        for number in range(60):
            # One connection per call, so that both workers answer.
            response = plain.post(f"{server.url}/emit", json={"n": number}, headers={"X-User": "acme"})
            answered.append(response.json()["id"])
        wait_for(lambda: set(receiver.ids()) == set(answered), 15)
        wait_for(lambda: len(streamed) >= 4 * len(answered), 10)
        stop.set()
        for reader in readers:
            reader.join(10)
        assert sorted(receiver.ids()) == sorted(answered), "each is delivered once"
        assert sorted(streamed) == sorted(answered * 4)
        assert listed(server) == set(answered)
