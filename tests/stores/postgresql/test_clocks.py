"""Processes whose machines disagree about the time."""

from __future__ import annotations

import re
import shutil
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from standardwebhooks import Webhook

from tests.eventually import wait_for
from tests.hosts import MOUNT, bearer
from tests.servers import Server, receiving, serving

ACME = bearer("acme")
AHEAD = 3600


def preload() -> dict[str, str]:
    """The environment of a process whose clock is ahead."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    if not found or shutil.which("faketime") is None:
        pytest.skip("faketime is not installed (Debian's package `faketime`).")
    return {"LD_PRELOAD": str(found[0]), "FAKETIME": f"+{AHEAD}s", "DONT_FAKE_MONOTONIC": "1"}


def emit(server: Server, number: int) -> str:
    """Emit an event and return its id."""
    answer = httpx.post(f"{server.url}/emit", json={"n": number}, headers={"X-User": "acme"})
    assert answer.status_code == 200
    return str(answer.json()["id"])


def test_processes_whose_clocks_differ_by_an_hour_deliver_in_time_once_and_signed(
    tmp_path: Path, postgresql_url: str, postgresql_schema: str
) -> None:
    environment = {"database": postgresql_url, "database_schema": postgresql_schema, "retry_schedule": "0,1,1"}
    with receiving() as receiver, ExitStack() as stack:
        right = stack.enter_context(serving(tmp_path, **environment))
        wrong = stack.enter_context(serving(tmp_path, **environment, **preload()))
        created = httpx.post(f"{right.url}{MOUNT}/endpoints", json={"url": receiver.url}, headers=ACME).json()
        secret = httpx.get(f"{right.url}{MOUNT}/endpoints/{created['id']}/secret", headers=ACME).json()["key"]
        # The first attempt of each fails, so that due times matter.
        seen: set[str] = set()

        def answer(request: object) -> int:
            identifier = receiver.requests[-1].headers["webhook-id"]
            known = identifier in seen
            seen.add(identifier)
            return 200 if known else 500

        receiver.answer = answer
        sent = [emit(server, number) for number in range(5) for server in (right, wrong)]
        wait_for(lambda: len(receiver.requests) >= 2 * len(sent), 8)
        assert sorted(receiver.ids()) == sorted(sent * 2)
        for request in receiver.requests:
            Webhook(secret).verify(request.body, request.headers)
        listed = [httpx.get(f"{server.url}{MOUNT}/events", headers=ACME).json()["events"] for server in (right, wrong)]
        assert listed[0] == listed[1]
        assert [one["id"] for one in listed[0]] == sent[::-1], "ids are in order of time, whoever mints them"
        hours = {re.sub(r":.*", "", one["timestamp"]) for one in listed[0]}
        assert len(hours) <= 2
        attempts = httpx.get(f"{wrong.url}{MOUNT}/endpoints/{created['id']}/attempts", headers=ACME).json()
        assert len(attempts["attempts"]) == 2 * len(sent)
