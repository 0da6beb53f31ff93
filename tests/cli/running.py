"""Runs the command as an operator does."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from tests.servers import ROOT, end

__all__ = ["on_terminal", "popen", "run"]

COMMAND = [sys.executable, "-m", "starlette_webhooks.cli"]


class _Process(subprocess.Popen[str]):
    """A process that ends with its block."""

    def __exit__(self, *details: Any) -> None:
        end(self)
        super().__exit__(*details)


def popen(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    """Start the command in a new process, with only these settings in its environment."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("WEBHOOKS_", "SVIX_"))}
    return _Process(
        [*COMMAND, *arguments],
        env={**kept, "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def on_terminal(*arguments: str) -> Generator[tuple[subprocess.Popen[bytes], int]]:
    """Start the command on a terminal of its own. Yields the process, and a file descriptor for what is shown."""
    shown, terminal = pty.openpty()
    try:
        process = subprocess.Popen(
            [*COMMAND, *arguments],
            env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm"},
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
        )
        os.close(terminal)
        try:
            yield process, shown
        finally:
            end(process)
            process.wait()
    finally:
        os.close(shown)


def run(*arguments: str, **environment: str) -> tuple[int, str, str]:
    """Return the exit status, the output and the errors of the command."""
    with popen(*arguments, **environment) as process:
        output, errors = process.communicate(timeout=50)
        return process.returncode, output, errors
