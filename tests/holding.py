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

_FILE_LOCK = """
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
    with _running(_FILE_LOCK, Path(f"{database}-lock")) as process:
        process.send_signal(signal.SIGSTOP)
        yield process.pid


@contextmanager
def holding_sqlite_lock(database: Path) -> Generator[int]:
    """Run another program that holds the file's write lock. Yields its pid."""
    with _running(_SQLITE_LOCK, database) as process:
        yield process.pid


@contextmanager
def _running(script: str, path: Path) -> Generator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "held"
        yield process
    finally:
        process.kill()
        process.communicate()
