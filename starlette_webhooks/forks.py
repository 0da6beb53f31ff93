"""What a forked child must not inherit: file locks, and the belief that something runs in it.

A child has copies of all that its parent has open, but none of its threads and no event loop. Pools of processes,
`multiprocessing` and servers that preload an app fork, often without the host's doing.
"""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet

__all__ = ["Inherited", "call_in_children"]


class Inherited(Protocol):
    """Something that must not go on in a forked child as if nothing had happened."""

    def after_fork(self) -> None:
        """Called in the child, right after the fork. No other thread runs."""


_inherited: WeakSet[Inherited] | None = None


def call_in_children(inherited: Inherited) -> None:
    """Have `inherited.after_fork()` called in each child that this process forks, for as long as it exists."""
    global _inherited
    if _inherited is None:
        _inherited = WeakSet()
        # Windows has no fork. Not at import: a hook cannot be taken back.
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_after_fork)
    _inherited.add(inherited)


def _after_fork() -> None:
    for inherited in tuple(_inherited or ()):
        inherited.after_fork()
