"""Processes of `tests.stores.postgresql.process`, and what they print."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager

from tests.servers import ROOT, end

__all__ = ["line", "lines", "process", "say"]


@contextmanager
def process(action: str, url: str, schema: str, number: int, **environment: str) -> Generator[subprocess.Popen[str]]:
    """A process of `tests.stores.postgresql.process`, which ends with the block."""
    command = [sys.executable, "-m", "tests.stores.postgresql.process", action, url, schema, str(number)]
    running = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment, "PYTHONPATH": str(ROOT)},
    )
    try:
        yield running
    finally:
        end(running)
        running.communicate()


def line(running: subprocess.Popen[str]) -> str:
    """The next line that it prints."""
    assert running.stdout is not None
    return running.stdout.readline().strip()


def say(running: subprocess.Popen[str], text: str) -> None:
    """Give it a line."""
    assert running.stdin is not None
    running.stdin.write(f"{text}\n")
    running.stdin.flush()


def lines(running: subprocess.Popen[str]) -> list[str]:
    """All that it prints until it ends."""
    assert running.stdout is not None
    return running.stdout.read().splitlines()
