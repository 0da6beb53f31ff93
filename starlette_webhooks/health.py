"""The types of `Webhooks.health()`: JSON for operators, with names in camelCase."""

from __future__ import annotations

from typing import Literal, NotRequired, TypeAlias, TypedDict

__all__ = [
    "DatabaseHealth",
    "DeliveriesHealth",
    "DispatchersHealth",
    "EndpointsHealth",
    "Health",
    "HostOutboxHealth",
    "LastError",
    "OutboxHealth",
    "Reason",
    "RelayHealth",
    "Status",
    "StorageHealth",
    "StreamsHealth",
    "SvixHealth",
]

Status: TypeAlias = Literal["ok", "degraded", "stopped"]
"""`degraded` means that something prevents or delays the work of the backend."""

Reason: TypeAlias = Literal["stopped", "dispatcher", "draining", "database", "backlog", "outbox", "dead_letters"]
"""Why a process is not ready. The last three depend on settings."""


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
    """Events that the host committed: whether this process moves them into the backend, and what keeps it from that.

    The figures are missing until they were first read. In a database of the host's own, they are counted to 1,000.
    """

    here: bool
    problem: str | None
    waiting: NotRequired[int]
    oldestSeconds: NotRequired[float]
    deadLettered: NotRequired[int]


class DeliveriesHealth(TypedDict):
    """Deliveries of all tenants. See `Overview`. Numbers are counted to 10,000 at most."""

    waiting: int
    failing: int
    exhausted: int
    held: int
    oldestDueSeconds: float


class EndpointsHealth(TypedDict):
    """Endpoints of all tenants, counted to 10,000 at most. `failing` ones are enabled."""

    total: int
    failing: int
    disabled: int


class DispatchersHealth(TypedDict):
    """The dispatcher of this process, and how many processes with one are alive.

    `lateSeconds` says for how long its loop has stood still. It is there where there is one.
    """

    here: bool
    busy: int
    problem: str | None
    lateSeconds: NotRequired[float]
    alive: NotRequired[int]


class StorageHealth(TypedDict):
    """The size of the database."""

    bytes: int


class LastError(TypedDict):
    """A warning or error that this process logged."""

    at: str
    message: str


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
    """The state of the backend and of this process's streams, or the error that ended it unexpectedly.

    Figures over all tenants are read in the background. `figuresAgeSeconds` is their age. They are missing until they
    were first read, and with backends that have none.
    """

    status: Status
    reasons: NotRequired[list[Reason]]
    backend: str
    figuresAgeSeconds: NotRequired[float]
    deliveries: NotRequired[DeliveriesHealth]
    endpoints: NotRequired[EndpointsHealth]
    dispatchers: NotRequired[DispatchersHealth]
    storage: NotRequired[StorageHealth]
    database: NotRequired[DatabaseHealth]
    svix: NotRequired[SvixHealth]
    outbox: NotRequired[OutboxHealth]
    relay: NotRequired[RelayHealth]
    hostOutbox: NotRequired[HostOutboxHealth]
    tails: NotRequired[int]
    streams: NotRequired[StreamsHealth]
    lastErrors: NotRequired[list[LastError]]
    error: NotRequired[str]
