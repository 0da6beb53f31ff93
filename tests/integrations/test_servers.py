"""Real servers, as processes: they start, emit, stream, and stop with a stream open."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from tests import plain
from tests.hosts import MOUNT, bearer
from tests.integrations.apps import HOSTS
from tests.integrations.hosting import webhooks_for
from tests.servers import COMMANDS, ROOT, free_port, serving
from tests.settings import make_settings

APP = "tests.integrations.serve:app"
ACME = {"X-User": "acme"}


def origins(directory: Path) -> list[str]:
    """Return what the host emitted, read after it has ended."""
    webhooks = webhooks_for(make_settings(directory))
    with TestClient(webhooks) as client:
        events = client.get("/events", headers=bearer("acme")).json()["events"]
    return [event["payload"]["data"].get("from") for event in reversed(events)]


def read_to_the_end(lines: Iterator[str], endings: list[str]) -> None:
    try:
        for _ in lines:
            pass
        endings.append("clean")
    except httpx.RemoteProtocolError:
        endings.append("cut off")


@pytest.mark.parametrize("server", list(COMMANDS))
@pytest.mark.parametrize("host", list(HOSTS))
def test_a_server_emits_streams_and_stops_cleanly_with_a_stream_open(tmp_path: Path, server: str, host: str) -> None:
    with serving(tmp_path, server=server, app=APP, TEST_HOST=host) as running:
        base = f"{running.url}{MOUNT}"
        with plain.stream("GET", f"{base}/events/stream", headers=bearer("acme"), timeout=10) as response:
            assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
            lines = response.iter_lines()
            assert next(lines).startswith((":", "retry:"))
            for path in ("/emit", "/emit-in-thread"):
                identifier = plain.post(f"{running.url}{path}", json={"from": "client"}, headers=ACME).json()["id"]
                assert f"id: {identifier}" in lines
            endings: list[str] = []
            reader = threading.Thread(target=read_to_the_end, args=(lines, endings))
            reader.start()
            code = running.stop(timeout=10)
            reader.join(5)
        assert endings == ["clean"]
        # Granian reports the signal as the reason for its end.
        assert code in (0, -signal.SIGTERM), running.log.read_text()
    assert origins(tmp_path) == ["startup", "client", "thread", "shutdown"]


@pytest.mark.parametrize("server", list(COMMANDS))
def test_a_server_ends_if_the_backend_cannot_start(tmp_path: Path, server: str) -> None:
    command = [part.format(app=APP, port=free_port()) for part in COMMANDS[server]]
    environment = {**os.environ, "WEBHOOKS_DATABASE": "/nowhere/webhooks.db", "TEST_HOST": "starlette"}
    ended = subprocess.run(
        [sys.executable, *command],
        env={**environment, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert "Set `WEBHOOKS_DATABASE` to a path" in ended.stdout + ended.stderr


@pytest.mark.parametrize("host", list(HOSTS))
def test_a_root_path_of_the_server_is_in_the_urls(tmp_path: Path, host: str) -> None:
    with serving(tmp_path, app=APP, args=["--root-path", "/proxy"], TEST_HOST=host) as running:
        base = f"{running.url}{MOUNT}"
        document: dict[str, Any] = plain.get(f"{base}/openapi.json").json()
        assert document["servers"] == [{"url": f"/proxy{MOUNT}"}]
        url = plain.post(f"{base}/portal", headers=bearer("acme")).json()["url"]
        assert url.startswith(f"{running.url}/proxy{MOUNT}/dashboard?token=")
        # The proxy removes the prefix again.
        assert "acme" in plain.get(url.replace("/proxy", "", 1)).raise_for_status().text
