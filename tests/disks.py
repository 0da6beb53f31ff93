"""A disk of a few megabytes, to fill."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

_SIZE = "8m"
_BLOCK = b"x" * 65_536


@contextmanager
def small_disk(directory: Path) -> Generator[Path]:
    """Mount a small file system, or skip the test if this process is not allowed to."""
    directory.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={_SIZE}", "tmpfs", str(directory)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):  # pragma: no cover - depends on who runs the tests
        pytest.skip("Mounting a small file system takes root on Linux.")
    try:
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True, capture_output=True)


@contextmanager
def filled(directory: Path) -> Generator[None]:
    """Leave no space on a disk until the block ends."""
    filler = directory / "filler"
    file = os.open(filler, os.O_CREAT | os.O_WRONLY)
    try:
        for block in (_BLOCK, b"x"):
            try:
                while True:
                    os.write(file, block)
            except OSError:
                continue
        yield
    finally:
        os.close(file)
        filler.unlink()
