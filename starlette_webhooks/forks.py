"""Resets objects in forked children, which must not inherit file locks or running state.

A child has copies of everything that its parent has open, but no threads and no event loop. Process pools,
`multiprocessing` and servers that preload an app fork, often without the host's knowledge.
"""

from __future__ import annotations

import os
import secrets
from typing import Protocol
from weakref import WeakSet

__all__ = ["Inherited", "ProcessName", "call_in_children"]


class Inherited(Protocol):
    """An object that must be reset in a forked child."""

    def after_fork(self) -> None:
        """Called in the child, right after the fork. No other thread runs."""


_inherited: WeakSet[Inherited] | None = None


def call_in_children(inherited: Inherited) -> None:
    """Call `inherited.after_fork()` in each child that this process forks, while the object exists."""
    global _inherited
    if _inherited is None:
        _inherited = WeakSet()
        # Not called at import, because a hook cannot be removed.
        if hasattr(os, "register_at_fork"):  # pragma: no branch  Windows has no fork.
            os.register_at_fork(after_in_child=_after_fork)
    _inherited.add(inherited)


def _after_fork() -> None:
    for inherited in tuple(_inherited or ()):
        inherited.after_fork()


class ProcessName:
    """A random name, by which other processes know this one. A forked child has another.

    Servers that preload an app fork after it was created. With the name of their parent, all workers would be one.
    """

    __slots__ = ("__weakref__", "text")

    def __init__(self) -> None:
        self.after_fork()
        call_in_children(self)

    def __str__(self) -> str:
        return self.text

    def after_fork(self) -> None:
        """See `Inherited`."""
        self.text = secrets.token_hex(16)
