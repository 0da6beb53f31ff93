"""Kills the server, the command `listen` and the app that it forwards to, while events are emitted."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests import plain
from tests.cli.running import popen
from tests.eventually import wait_for
from tests.hosts import MOUNT
from tests.servers import ROOT, free_port, serving

__all__ = ["Listened", "kill_listen"]


@dataclass
class Listened:
    """What came of it.

    Attributes:
        answered: The events that were answered, in order.
        forwarded: The events that the app has received, in order, without repeats.
        repeated: How often the app has received one again.
    """

    answered: list[str] = field(default_factory=list)
    forwarded: list[str] = field(default_factory=list)
    repeated: int = 0

    @property
    def lost(self) -> int:
        return len(set(self.answered) - set(self.forwarded))

    @property
    def in_order(self) -> bool:
        known = set(self.answered)
        return [each for each in self.forwarded if each in known] == [
            each for each in self.answered if each in set(self.forwarded)
        ]


class Parts:
    """The three processes, each of which is killed and started again on its port."""

    def __init__(self, directory: Path, settings: dict[str, Any]) -> None:
        self.received = directory / "received"
        self.received.touch()
        self._directory = directory
        self._settings = settings
        self._server_port, self._app_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self._server_port}"
        self._running: dict[str, ExitStack] = {}
        self.starts = {"server": self._serve, "app": self._run_app, "listen": self._listen}

    @contextmanager
    def running(self) -> Generator[None]:
        try:
            for name in self.starts:
                self.start(name)
            yield
        finally:
            for name in list(self._running):
                self.kill(name)

    def start(self, name: str) -> None:
        stack = ExitStack()
        self.starts[name](stack)
        self._running[name] = stack

    def kill(self, name: str) -> None:
        self._running.pop(name).close()

    def _serve(self, stack: ExitStack) -> None:
        server = stack.enter_context(serving(self._directory, port=self._server_port, **self._settings))
        stack.callback(server.kill)

    def _run_app(self, stack: ExitStack) -> None:
        command = [sys.executable, "-m", "tests.cli.target", str(self._app_port), str(self.received)]
        self._kill_at_end(stack, subprocess.Popen(command, cwd=ROOT))

    def _listen(self, stack: ExitStack) -> None:
        forward = ["--forward-to", f"http://127.0.0.1:{self._app_port}/", "--retries", "forever", "--json"]
        state = ["--state", str(self._directory / "state.json")]
        process = popen("listen", self.url + MOUNT, "--key", "acme", *forward, *state)
        # A reader, so that its output never blocks it.
        threading.Thread(target=lambda: [None for _ in process.stdout or ()], daemon=True).start()
        self._kill_at_end(stack, process)

    def _kill_at_end(self, stack: ExitStack, process: subprocess.Popen[Any]) -> None:
        def kill() -> None:
            process.send_signal(signal.SIGKILL)
            process.wait(10)
            for pipe in (process.stdout, process.stderr):
                if pipe is not None:
                    with suppress(ValueError):
                        pipe.close()

        stack.callback(kill)


def kill_listen(directory: Path, victims: list[str], settings: dict[str, Any], *, pause: float = 0.3) -> Listened:
    """Kill these parts one after another (`server`, `app`, `listen`), and compare what was emitted and forwarded."""
    found = Listened()
    parts = Parts(directory, settings)
    with parts.running():
        # From when the command has a position.
        wait_for((directory / "state.json").exists)
        stop = threading.Event()
        emitter = threading.Thread(target=_emit, args=(parts.url, found.answered, stop), daemon=True)
        emitter.start()
        for victim in victims:
            time.sleep(random.uniform(0, pause))
            parts.kill(victim)
            time.sleep(random.uniform(0, pause / 3))
            parts.start(victim)
        stop.set()
        emitter.join(10)
        with suppress(TimeoutError):
            wait_for(lambda: set(found.answered) <= set(parts.received.read_text().split()), 60)
    received = parts.received.read_text().split()
    found.forwarded = list(dict.fromkeys(received))
    found.repeated = len(received) - len(found.forwarded)
    return found


def _emit(url: str, answered: list[str], stop: threading.Event) -> None:
    with plain.Client(base_url=url, headers={"X-User": "acme"}, timeout=10) as host:
        while not stop.wait(0.01):
            with suppress(httpx.TransportError):
                response = host.post("/emit", json={})
                if response.status_code == 200:
                    answered.append(response.json()["id"])
