"""Events within a transaction of the host: the types for `within=`, and the state of written events."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Literal, NoReturn

from starlette_webhooks.events import Event

__all__ = ["COMMITS_BY_ITSELF", "Kind", "UncommittedSubmission", "Written", "kind_of", "refuse"]

logger = logging.getLogger("starlette_webhooks")

Kind = Literal[
    "session", "async session", "connection", "async connection", "psycopg", "async psycopg", "asyncpg", "sqlite3"
]

_KINDS: dict[tuple[str, str], Kind] = {
    ("sqlalchemy", "Session"): "session",
    ("sqlalchemy", "scoped_session"): "session",
    ("sqlalchemy", "AsyncSession"): "async session",
    ("sqlalchemy", "async_scoped_session"): "async session",
    ("sqlalchemy", "Connection"): "connection",
    ("sqlalchemy", "AsyncConnection"): "async connection",
    ("psycopg", "Connection"): "psycopg",
    ("psycopg", "AsyncConnection"): "async psycopg",
    ("asyncpg", "Connection"): "asyncpg",
    ("asyncpg", "PoolConnectionProxy"): "asyncpg",
    ("sqlite3", "Connection"): "sqlite3",
}
_HINTS = {
    ("sqlalchemy", "ShardedSession"): "The session has several databases, and the event belongs to one of them. Pass "
    'the connection of that database: `within=session.connection(bind_arguments={"shard_id": ...})`.',
    ("sqlalchemy", "Engine"): "An engine has no transaction. Pass a session or a connection.",
    ("sqlalchemy", "AsyncEngine"): "An engine has no transaction. Pass a session or a connection.",
    ("sqlalchemy", "sessionmaker"): "Pass a session, not a session factory.",
    ("sqlalchemy", "async_sessionmaker"): "Pass a session, not a session factory.",
    ("sqlalchemy", "Transaction"): "Pass the connection, not its transaction.",
    ("asyncpg", "Pool"): "Pass a connection of the pool: `async with pool.acquire() as connection:`.",
    ("psycopg", "BaseCursor"): "Pass the connection, not a cursor of it.",
    ("sqlite3", "Cursor"): "Pass the connection, not a cursor of it.",
    ("aiosqlite", "Connection"): "Use `outbox.statement(...)` with this driver.",
}
_SUPPORTED = (
    "`within` must be a session or a connection of SQLAlchemy, or a connection of psycopg, asyncpg or sqlite3, not {}. "
)
COMMITS_BY_ITSELF = (
    "This connection is in autocommit mode, so the event would be emitted even if your transaction is rolled back. {}"
)


def kind_of(within: object) -> Kind:
    """Return the kind of the host's object by the name of its class, without importing anything.

    Raises:
        TypeError: The object has no known transaction. The message says what to pass.
    """
    for cls in type(within).__mro__:
        name = (cls.__module__.partition(".")[0], cls.__name__)
        if name in _HINTS:
            raise TypeError(_SUPPORTED.format(f"`{cls.__name__}`") + _HINTS[name])
        if name in _KINDS:
            return _KINDS[name]
    raise TypeError(
        _SUPPORTED.format(f"`{type(within).__qualname__}`") + "For other drivers, use `outbox.statement(...)`."
    )


def refuse(remedy: str) -> NoReturn:
    """Refuse a connection in autocommit mode.

    Raises:
        RuntimeError: Always.
    """
    raise RuntimeError(COMMITS_BY_ITSELF.format(remedy))


class Written:
    """Events within a transaction of the host.

    Attributes:
        open: Whether the transaction is neither committed nor rolled back. None if this cannot be known.
    """

    __slots__ = ("_on_commit", "events", "open")

    def __init__(self, events: Sequence[Event], on_commit: Callable[[Sequence[Event]], None]) -> None:
        self.events = events
        self._on_commit = on_commit
        self.open: bool | None = None

    def committed(self) -> None:
        """Note the commit of the outermost transaction. Called in any thread. Never raises into the host's commit."""
        self.open = False
        try:
            self._on_commit(self.events)
        except Exception:
            logger.exception("A listener of the host's commits failed.")

    def rolled_back(self) -> None:
        """Note that the events were rolled back."""
        self.open = False


class UncommittedSubmission:
    """The `Submission` of events within a transaction of the host, which cannot be awaited."""

    __slots__ = ()
    finished = True
    failed = True

    async def wait(self) -> NoReturn:
        """Refuse to wait.

        Raises:
            RuntimeError: Always.
        """
        raise RuntimeError(
            "An event that is emitted `within` your transaction exists once you commit, so it cannot be awaited. Use "
            "the attribute `event` of the result."
        )
