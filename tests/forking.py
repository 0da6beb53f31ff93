"""Forked children of the test's own process."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable

__all__ = ["in_child"]


def in_child(fn: Callable[[], int], *, within: float = 10.0) -> int:
    """Run a function in a forked child and return its exit code, which is what the function returned."""
    with warnings.catch_warnings():
        # Python 3.12 and later warn if there are threads, which is what these tests are about.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if not child:
        code = 70
        try:
            code = fn()
        finally:
            os._exit(code)
    end = time.monotonic() + within
    while time.monotonic() < end:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, 9)
    os.waitpid(child, 0)
    raise TimeoutError(f"The child did not end within {within} s.")
