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
    """A database. SQLite and PostgreSQL have their own fields.

    Attributes:
        problem: Why it is unavailable, or None.
        sqlite: The version of SQLite.
        walResetFixed: Whether this SQLite has the fix for a bug that can damage a file while two connections write.
        postgresql: The version of PostgreSQL.
        server: The host and port of the server.
        schema: The schema with the tables.
        clockAheadMs: Milliseconds by which the server's clock is ahead of this process's.
        hints: Whether `LISTEN` currently tells this process of other processes' events.
    """

    problem: NotRequired[str | None]

    sqlite: NotRequired[str]
    walResetFixed: NotRequired[bool]

    postgresql: NotRequired[str]
    server: NotRequired[str]
    schema: NotRequired[str]
    clockAheadMs: NotRequired[int]
    hints: NotRequired[bool]


class SvixHealth(TypedDict):
    """The Svix server.

    Attributes:
        server: Its URL.
        selfHosted: Whether it is a server of your own.
        answered: Whether it has answered since the start of the process.
        problem: What is wrong with it, or None.
    """

    server: str
    selfHosted: bool
    answered: bool
    problem: str | None


class OutboxHealth(TypedDict):
    """Events that Svix does not have yet.

    Attributes:
        waiting: How many wait.
        oldestSeconds: For how many seconds the oldest has waited.
        deadLettered: How many were refused permanently.
        problem: What is wrong with the database of the outbox, or None.
    """

    waiting: int
    oldestSeconds: float
    deadLettered: int
    problem: NotRequired[str | None]


class HostOutboxHealth(TypedDict):
    """Events that the host committed: whether this process moves them into the backend, and what keeps it from that.

    The figures are missing until they were first read. In a database of the host's own, they are counted to 1,000.

    Attributes:
        here: Whether this process moves them.
        problem: What keeps it from moving them, or None.
        waiting: How many wait.
        oldestSeconds: For how many seconds the oldest has waited.
        deadLettered: How many were refused permanently.
    """

    here: bool
    problem: str | None
    waiting: NotRequired[int]
    oldestSeconds: NotRequired[float]
    deadLettered: NotRequired[int]


class DeliveriesHealth(TypedDict):
    """Deliveries of all tenants. Numbers are counted to 10,000 at most.

    Attributes:
        waiting: Deliveries to enabled endpoints that wait for an attempt.
        failing: Those of them that wait for a retry after a failure.
        exhausted: Deliveries without attempts left, counted to 1,000 at most.
        held: Deliveries to disabled endpoints.
        oldestDueSeconds: By how many seconds the oldest due delivery is late. Deliveries that wait on purpose, for
            example to failing endpoints, do not count.
    """

    waiting: int
    failing: int
    exhausted: int
    held: int
    oldestDueSeconds: float


class EndpointsHealth(TypedDict):
    """Endpoints of all tenants, counted to 10,000 at most.

    Attributes:
        total: All of them.
        failing: Enabled ones whose last attempt failed.
        disabled: Disabled ones.
    """

    total: int
    failing: int
    disabled: int


class DispatchersHealth(TypedDict):
    """The dispatcher of this process, and how many processes with one are alive.

    Attributes:
        here: Whether this process delivers.
        busy: Attempts that are running in this process.
        problem: What keeps this process from delivering, or None.
        lateSeconds: For how many seconds its loop has stood still. Only if this process delivers.
        alive: Processes that deliver. A killed process counts for 75 seconds.
    """

    here: bool
    busy: int
    problem: str | None
    lateSeconds: NotRequired[float]
    alive: NotRequired[int]


class StorageHealth(TypedDict):
    """The size of the database.

    Attributes:
        bytes: The size of the SQLite file, or of the tables in the schema.
    """

    bytes: int


class LastError(TypedDict):
    """A warning or error that this process logged.

    Attributes:
        at: When, as RFC 3339 in UTC.
        message: The text.
    """

    at: str
    message: str


class RelayHealth(TypedDict):
    """The relay, which forwards the outbox to Svix.

    Attributes:
        here: Whether it runs in this process.
        stalled: Whether it waits for Svix to recover.
    """

    here: bool
    stalled: bool


class StreamsHealth(TypedDict):
    """The streams of this process: gauges, and counters since its start.

    Attributes:
        streams: Open streams.
        tenants: Tenants with open streams.
        views: Different filters of open streams.
        bufferBytes: Bytes of recent events in memory.
        pageBytes: Bytes of replays and lists that are being sent.
        draining: Whether streams are ended because the process stops.
        opened: Streams that were opened.
        frames: Events sent, counted once per stream.
        sends: Body messages sent, including heartbeats.
        heartbeats: Heartbeats sent, alone or with events.
        lagged: How often a slow reader lost frames in memory and had to read the log.
        stalled: Readers that were aborted because they did not read at all.
        replays: How often the log was read for past events.
        gaps: Streams that could not resume after the requested event.
        rejected: Streams refused at a limit or while stopping.
        closed: Ended streams by reason.
    """

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

    Figures over all tenants are read in the background. They are missing until they were first read, and with backends
    that have none.

    Attributes:
        status: `ok`, `degraded` if something prevents or delays the work of the backend, or `stopped`.
        reasons: Why this process is not ready.
        backend: `sqlite`, `postgresql`, `svix` or `memory`.
        figuresAgeSeconds: The age of the figures over all tenants.
        deliveries: Deliveries of all tenants.
        endpoints: Endpoints of all tenants.
        dispatchers: The processes that deliver.
        storage: The size of the database.
        database: The database.
        svix: The Svix server.
        outbox: Events that Svix does not have yet.
        relay: The relay, which forwards these events.
        hostOutbox: Events that the host committed and that are not in the log yet.
        tails: With Svix, the tenants whose new events this process looks for.
        streams: The streams of this process.
        lastErrors: The last ten warnings and errors that this process logged.
        error: The error that ended the backend unexpectedly.
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
