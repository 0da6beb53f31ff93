"""File locks: exclusive, with a deadline for waiting, and released when the holder dies."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from starlette_webhooks.file_locks import FileLock
from tests.eventually import wait_for
from tests.holding import HOLD_FILE_LOCK, running_script

# Its child lives on, like the processes of a pool.
HOLD_AND_FORK = """
import os, sys, time
from starlette_webhooks.file_locks import FileLock
lock = FileLock(sys.argv[1])
lock.open()
assert lock.acquire(5)
if os.fork():
    time.sleep(60)
else:
    print(os.getpid(), flush=True)
    time.sleep(60)
"""


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.lock"


def opened(path: Path) -> FileLock:
    lock = FileLock(str(path))
    lock.open()
    return lock


def test_one_at_a_time_holds_it(path: Path) -> None:
    first, second = opened(path), opened(path)
    assert first.try_acquire()
    assert not second.try_acquire()
    first.release()
    assert second.try_acquire()
    second.close()
    assert first.try_acquire()
    first.close()


def test_only_the_owner_can_read_the_file(path: Path) -> None:
    opened(path).close()
    assert path.stat().st_mode & 0o777 == 0o600


def test_waiting_for_a_stopped_process_ends_at_the_deadline_and_names_the_holder(path: Path) -> None:
    with running_script(HOLD_FILE_LOCK, path) as holder:
        assert first_line(holder) == "held"
        holder.send_signal(signal.SIGSTOP)
        lock = opened(path)
        started = time.monotonic()
        assert not lock.acquire(0.2)
        assert 0.2 <= time.monotonic() - started < 2
        assert lock.holder() == f"process {holder.pid}"
        holder.kill()
        holder.wait(10)
        assert lock.acquire(5), "a dead process holds nothing"
        lock.close()


def test_a_long_wait_is_logged_once_with_its_holder_and_once_at_its_end(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with running_script(HOLD_FILE_LOCK, path) as holder:
        assert first_line(holder) == "held"
        lock = FileLock(str(path), say_after=0.05)
        lock.open()
        for _ in range(3):
            assert not lock.acquire(0.1)
        holder.kill()
        holder.wait(10)
        assert lock.acquire(5)
        lock.close()
    assert [record.message for record in caplog.records] == [
        f"Waiting for the lock {str(path)!r}, which process {holder.pid} holds.",
        f"The lock {str(path)!r} was released.",
    ]


def test_without_a_holder_no_process_is_named(path: Path) -> None:
    assert opened(path).holder() == "another process"


def test_a_child_of_a_killed_process_does_not_hold_its_lock(path: Path) -> None:
    with running_script(HOLD_AND_FORK, path) as parent:
        child = int(first_line(parent))
        try:
            lock = opened(path)
            assert not lock.try_acquire()
            parent.kill()
            parent.wait(10)
            assert wait_for(lock.try_acquire, 5)
            os.kill(child, 0)
            lock.close()
        finally:
            os.kill(child, signal.SIGKILL)
