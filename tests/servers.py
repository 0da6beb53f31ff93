"""Real servers as processes, and a real receiver of webhooks."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.eventually import wait_for
from tests.forked_servers import ForkedProcess

ROOT = Path(__file__).parent.parent
COMMANDS: dict[str, list[str]] = {
    "uvicorn": ["-m", "uvicorn", "{app}", "--port", "{port}", "--log-level", "warning"],
    "granian": ["-m", "granian", "--interface", "asgi", "{app}", "--port", "{port}", "--log-level", "warning"],
    "hypercorn": ["-m", "hypercorn", "{app}", "--bind", "127.0.0.1:{port}", "--log-level", "WARNING"],
    "gunicorn": ["-m", "gunicorn", "{app}", "--bind", "127.0.0.1:{port}", "-k", "uvicorn_worker.UvicornWorker"],
}
# Servers that a program runs, and that stop without a signal in the way that `{app}` names.
PROGRAMS = {"stopping": ["-m", "tests.streams.stopping", "{app}", "{port}"]}


def end(process: subprocess.Popen[Any] | ForkedProcess) -> None:
    """End a process. One whose coverage is measured may end by itself, which writes what it has run."""
    if "COVERAGE_PROCESS_CONFIG" in os.environ and process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(5)
    process.kill()


def free_port() -> int:
    """Return a loopback port that is free at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Server:
    """A server process."""

    process: subprocess.Popen[bytes] | ForkedProcess
    port: int
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def kill(self) -> None:
        """Kill the whole process group at once, like a power cut."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)

    def stop(self, timeout: float = 10) -> int:
        """Stop it as an operator does, and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)


@contextmanager
def serving(
    directory: Path,
    *,
    server: str = "uvicorn",
    app: str = "tests.serve:app",
    args: list[str] | None = None,
    python: Path | None = None,
    port: int | None = None,
    **env: str,
) -> Generator[Server]:
    """Run a server until the block ends.

    Args:
        port: By default, a free one.
        python: The Python of another environment, which does not import this tree.
        port: Its port. A free one by default.
        env: Environment variables. Names in lower case are settings, without their prefix.
    """
    port = port or free_port()
    command = [part.format(app=app, port=port) for part in {**COMMANDS, **PROGRAMS}[server]] + (args or [])
    settings = {name if name.isupper() else f"WEBHOOKS_{name.upper()}": value for name, value in env.items()}
    defaults = {
        "WEBHOOKS_DATABASE": str(directory / "webhooks.db"),
        "WEBHOOKS_ALLOW_NETWORKS": "127.0.0.0/8",
        # Tests emit by `POST /test`.
        "WEBHOOKS_RESENDS_PER_MINUTE": "0",
    }
    environment = {**os.environ, **defaults, **settings, "PYTHONPATH": "" if python else str(ROOT)}
    log = directory / f"server-{port}.log"
    process = _start([str(python or sys.executable), *command], environment, directory, log)
    running = Server(process, port, log)
    try:
        wait_for(lambda: answers(running), 20, log)
        yield running
    finally:
        if process.poll() is None:
            end(process)
            running.kill()


def _start(
    command: list[str], environment: dict[str, str], directory: Path, log: Path
) -> subprocess.Popen[bytes] | ForkedProcess:
    with log.open("ab") as output:
        python, _, module, *arguments = command
        # Coverage is measured from the start of an interpreter.
        if python == sys.executable and module == "uvicorn" and "COVERAGE_PROCESS_CONFIG" not in os.environ:
            return ForkedProcess(module, arguments, env=environment, cwd=directory, output=log)
        return subprocess.Popen(
            command, env=environment, stdout=output, stderr=output, cwd=directory, start_new_session=True
        )


def answers(server: Server) -> bool:
    """Return whether it serves. Raises if it has ended."""
    if server.process.poll() is not None:
        raise RuntimeError(f"The server ended with {server.process.returncode}:\n{server.log.read_text()}")
    # Repeated while the server needs the processor to start. Clients of HTTPX load all certificate authorities first.
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=1)
    try:
        connection.request("GET", "/nothing")
        return connection.getresponse().status < 500
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
