"""Detects that the server stops without a signal: at a limit of requests, by `should_exit`, or by a supervisor.

ASGI has no message for this: `lifespan.shutdown` only comes after all responses have ended, and a stream does not end.
A server that stops without a signal would wait for its streams without accepting connections. This module therefore
finds the server among the tasks of the event loop, and checks it regularly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import anyio

__all__ = ["ServerWatch"]

Check = Callable[[], bool]


class ServerWatch:
    """The servers that run in this event loop. Without a known server, `stopping` is always false."""

    def __init__(self) -> None:
        self._checks: list[Check] = []

    def look(self) -> None:
        """Find the servers. Costs a few microseconds for each task of the loop."""
        found: dict[int, Check] = {}
        for module, names in _awaiting_frames():
            find = _FINDERS.get(module)
            server = None if find is None else find(names)
            if server is not None:
                found[id(server[0])] = server[1]
        self._checks = list(found.values())

    def forget(self) -> None:
        """Forget the servers."""
        self._checks = []

    @property
    def stopping(self) -> bool:
        """Whether all servers have begun to stop. One that continues may be the one that serves the streams."""
        return bool(self._checks) and all(check() for check in self._checks)


def _awaiting_frames() -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the module and the local variables of every function that a task of this loop is in."""
    for task in anyio.get_running_tasks():
        awaited: Any = task.coro
        while awaited is not None:
            frame = getattr(awaited, "cr_frame", None) or getattr(awaited, "gi_frame", None)
            if frame is not None:
                yield frame.f_globals.get("__name__", ""), frame.f_locals
            awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "gi_yieldfrom", None)


Found = tuple[object, Check] | None


def _uvicorn(names: Mapping[str, Any]) -> Found:
    # `Server.serve` and what it awaits, also below gunicorn, whose worker runs a server.
    server: Any = names.get("self")
    if not hasattr(server, "should_exit"):  # pragma: no cover  Another version of uvicorn.
        return None

    def stopping() -> bool:
        # At a limit of requests, the server does not set `should_exit`, but closes its listening sockets.
        sockets = getattr(server, "servers", ())
        return server.should_exit or any(not one.is_serving() for one in sockets)

    return server, stopping


def _hypercorn(names: Mapping[str, Any]) -> Found:
    # `worker_serve` has the state that its connections share. The parent stops workers by an event, not by signals.
    context = names.get("context")
    terminated = getattr(context, "terminated", None)
    return None if terminated is None else (context, terminated.is_set)


def _granian(names: Mapping[str, Any]) -> Found:
    # The embedded `Server`. Processes of the command receive SIGTERM.
    server: Any = names.get("self")
    if not hasattr(server, "interrupt_signal"):
        return None
    return server, lambda: server.interrupt_signal


_FINDERS: Mapping[str, Callable[[Mapping[str, Any]], Found]] = {
    "uvicorn.server": _uvicorn,
    "hypercorn.asyncio.run": _hypercorn,
    "hypercorn.trio.run": _hypercorn,
    "granian.server.embed": _granian,
}
