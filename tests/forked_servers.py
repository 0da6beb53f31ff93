"""Servers as forks of a process that has imported what they need: a new interpreter takes a second of CPU to start.

Run as a module, this is that process.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["ForkedProcess"]

_ROOT = Path(__file__).parent.parent
# Nothing in them reads the environment, the arguments or the working directory.
_MODULES = [
    "httptools",
    "uvloop",
    "uvicorn.lifespan.on",
    "uvicorn.loops.auto",
    "uvicorn.main",
    "uvicorn.protocols.http.auto",
    "uvicorn.protocols.websockets.auto",
    "starlette_webhooks.backends.sqlite",
    "tests.hosts",
]
_PAUSE = 0.005


class ForkedProcess:
    """What tests use of a `Popen`, of `python -m MODULE ARGUMENT...` in a session of its own."""

    def __init__(
        self, module: str, arguments: Sequence[str], *, env: Mapping[str, str], cwd: Path, output: Path
    ) -> None:
        self.args = [module, *arguments]
        self.returncode: int | None = None
        request = {"module": module, "arguments": arguments, "env": dict(env), "cwd": str(cwd), "output": str(output)}
        self.pid = int(_parent().ask(request))

    def poll(self) -> int | None:
        """Return its exit code, or None while it runs."""
        if self.returncode is None:
            self.returncode = _parent().ask({"ended": self.pid})
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end.

        Raises:
            TimeoutExpired: It runs longer than this many seconds.
        """
        end = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if end is not None and time.monotonic() > end:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            time.sleep(_PAUSE)
        return code

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)


class _Parent:
    """The process that forks, one for all tests of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=_ROOT,
            env={**os.environ, "PYTHONPATH": str(_ROOT)},
            start_new_session=True,
        )

    def ask(self, request: dict[str, Any]) -> Any:
        questions, answers = self._process.stdin, self._process.stdout
        assert questions is not None
        assert answers is not None
        with self._lock:
            questions.write(f"{json.dumps(request)}\n")
            questions.flush()
            return json.loads(answers.readline())

    def end(self) -> None:
        self._process.communicate()


@cache
def _parent() -> _Parent:
    parent = _Parent()
    atexit.register(parent.end)
    return parent


def _fork() -> int:
    ready, done = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        os.close(ready)
        os.close(done)
        return 0
    os.close(done)
    # Its process group exists once this ends.
    os.read(ready, 1)
    os.close(ready)
    return pid


def _become(request: dict[str, Any]) -> None:
    """Run the program of a request in this process, as `python -m` does."""
    nothing, output = os.open(os.devnull, os.O_RDONLY), os.open(request["output"], os.O_WRONLY | os.O_APPEND)
    for old, new in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(old, new)
    os.close(nothing)
    os.close(output)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.path[0] = request["cwd"]
    sys.argv = ["-m", *request["arguments"]]
    gc.enable()
    runpy.run_module(request["module"], run_name="__main__", alter_sys=True)


def _ended(pid: int, codes: dict[int, int]) -> int | None:
    # Several threads may ask, and only the first answer comes from the system.
    if pid not in codes:
        found, status = os.waitpid(pid, os.WNOHANG)
        if not found:
            return None
        codes[pid] = os.waitstatus_to_exitcode(status)
    return codes[pid]


def _serve() -> dict[str, Any] | None:
    """Answer requests. Returns in a new process what it is to become, and None once nobody asks any more."""
    codes: dict[int, int] = {}
    for line in sys.stdin:
        request: dict[str, Any] = json.loads(line)
        answer: int | None
        if "ended" in request:
            answer = _ended(request["ended"], codes)
        else:
            answer = _fork()
            if answer == 0:
                return request
            codes.pop(answer, None)
        print(json.dumps(answer), flush=True)
    return None


def _main() -> None:
    gc.disable()
    for name in _MODULES:
        importlib.import_module(name)
    gc.freeze()
    request = _serve()
    if request is not None:
        _become(request)


if __name__ == "__main__":
    _main()
