"""The types of `Webhooks.health()`: JSON for operators, with names in camelCase."""

from __future__ import annotations

from typing import Literal, NotRequired, TypeAlias, TypedDict

__all__ = [
    "DatabaseHealth",
    "Health",
    "HostOutboxHealth",
    "OutboxHealth",
    "RelayHealth",
    "Status",
    "StreamsHealth",
    "SvixHealth",
]

Status: TypeAlias = Literal["ok", "degraded", "stopped"]
"""`degraded` means that something prevents or delays the work of the backend."""


class DatabaseHealth(TypedDict):
    """A database. Each kind has its own fields. `problem` says why it is unavailable."""

    problem: NotRequired[str | None]

    sqlite: NotRequired[str]
    walResetFixed: NotRequired[bool]

    postgresql: NotRequired[str]
    server: NotRequired[str]
    schema: NotRequired[str]
    clockAheadMs: NotRequired[int]
    hints: NotRequired[bool]


class SvixHealth(TypedDict):
    """The Svix server."""

    server: str
    selfHosted: bool
    answered: bool
    problem: str | None


class OutboxHealth(TypedDict):
    """Events that Svix does not have yet."""

    waiting: int
    oldestSeconds: float
    deadLettered: int
    problem: NotRequired[str | None]


class HostOutboxHealth(TypedDict):
    """Events that the host committed: whether this process moves them into the backend, and what keeps it from that."""

    here: bool
    problem: str | None


class RelayHealth(TypedDict):
    """The relay: whether this process forwards the outbox, and whether it waits for Svix to recover."""

    here: bool
    stalled: bool


class StreamsHealth(TypedDict):
    """Gauges, and counters since the start of the process. See `streams.counts`."""

    streams: int
    tenants: int
    views: int
    bufferBytes: int
    pageBytes: int
    draining: bool
    opened: int
    frames: int
    sends: int
    heartbeats: int
    lagged: int
    stalled: int
    replays: int
    gaps: int
    rejected: int
    closed: dict[str, int]


class Health(TypedDict):
    """The state of the backend and of this process's streams, or the error that ended it unexpectedly."""

    status: Status
    backend: str
    database: NotRequired[DatabaseHealth]
    svix: NotRequired[SvixHealth]
    outbox: NotRequired[OutboxHealth]
    relay: NotRequired[RelayHealth]
    hostOutbox: NotRequired[HostOutboxHealth]
    tails: NotRequired[int]
    streams: NotRequired[StreamsHealth]
    error: NotRequired[str]
