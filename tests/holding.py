"""Other processes that hold a lock of the database for the duration of a block."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from tests.servers import ROOT

HOLD_FILE_LOCK = """
import sys
from starlette_webhooks.file_locks import FileLock
lock = FileLock(sys.argv[1])
lock.open()
assert lock.acquire(5)
print("held", flush=True)
sys.stdin.read()
"""
_SQLITE_LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def holding_file_lock(database: Path) -> Generator[int]:
    """Run a process of ours that is stopped during a commit. Yields its pid."""
    with running_script(HOLD_FILE_LOCK, Path(f"{database}-lock")) as process:
        _wait_until_held(process)
        process.send_signal(signal.SIGSTOP)
        yield process.pid


@contextmanager
def holding_sqlite_lock(database: Path) -> Generator[int]:
    """Run another program that holds the file's write lock. Yields its pid."""
    with running_script(_SQLITE_LOCK, database) as process:
        _wait_until_held(process)
        yield process.pid


@contextmanager
def running_script(script: str, path: Path) -> Generator[subprocess.Popen[str]]:
    """Run a Python script with a path as its argument, and kill it at the end."""
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _wait_until_held(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "held"
