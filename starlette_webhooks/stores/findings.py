"""What `starlette-webhooks check` finds wrong with an installation."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["Finding", "check_clock", "check_free_space", "check_transactions"]

_FREE_BYTES = 1_073_741_824
_CLOCK_SECONDS = 1.0
_TRANSACTION_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was checked.

    Attributes:
        subject: What was checked, such as `schema`.
        level: `ok`, `note` for what may be on purpose, or `problem`.
        text: What was found, and what to do.
    """

    subject: str
    level: Literal["ok", "note", "problem"]
    text: str

    def document(self) -> dict[str, Any]:
        """Return the finding as JSON."""
        return {"subject": self.subject, "level": self.level, "text": self.text}


def check_free_space(path: str, size: int) -> Finding:
    """Check the free space where a file is. There should be as much again as the file has, and a GiB at least."""
    free = shutil.disk_usage(os.path.dirname(os.path.realpath(path))).free
    text = f"{free / 1_048_576:,.0f} MiB free on the disk of {path}."
    if free < max(_FREE_BYTES, size):
        return Finding("disk", "problem", f"{text} Make room: without it, nothing is stored.")
    return Finding("disk", "ok", text)


def check_clock(server: float, *, now: Callable[[], float] = time.time) -> Finding:
    """Compare this machine's time of day with a server's, in seconds since the epoch."""
    ahead = now() - server
    if abs(ahead) > _CLOCK_SECONDS:
        way = "ahead of" if ahead > 0 else "behind"
        text = f"This machine's clock is {abs(ahead):.1f} s {way} the server's. Synchronize both, with NTP for example."
        return Finding("clock", "problem", text)
    return Finding("clock", "ok", "This machine's clock agrees with the server's.")


def check_transactions(oldest: float | None) -> Iterator[Finding]:
    """Check for how many seconds the oldest transaction on a server has been open. None if there is none."""
    if oldest is not None and oldest > _TRANSACTION_SECONDS:
        text = f"A transaction has been open for {oldest / 60:.0f} min. It keeps the server from cleaning up tables."
        yield Finding("transactions", "problem", text)
