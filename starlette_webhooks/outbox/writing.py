"""Events within a transaction of the host: the types for `within=`, and the state of written events."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Sequence
from functools import lru_cache
from typing import Any, Literal, NoReturn, cast

from starlette_webhooks.events import Event
from starlette_webhooks.log_fields import log_fields

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
    # As a `Hashable`, because mypy takes the `__hash__` of the instances for that of the class.
    return _kind_of_class(cast("Hashable", type(within)))


@lru_cache(64)
def _kind_of_class(given: Any) -> Kind:
    for cls in given.__mro__:
        name = (cls.__module__.partition(".")[0], cls.__name__)
        if name in _HINTS:
            raise TypeError(_SUPPORTED.format(f"`{cls.__name__}`") + _HINTS[name])
        if name in _KINDS:
            return _KINDS[name]
    raise TypeError(_SUPPORTED.format(f"`{given.__qualname__}`") + "For other drivers, use `outbox.statement(...)`.")


def refuse(remedy: str) -> NoReturn:
    """Refuse a connection in autocommit mode.

    Raises:
        RuntimeError: Always.
    """
    raise RuntimeError(COMMITS_BY_ITSELF.format(remedy))


class Written:
    """Events within a transaction of the host.

    Attributes:
        is_open: Whether the transaction is open. None if this cannot be known.
    """

    __slots__ = ("_ended", "_on_commit", "events", "is_open")

    def __init__(self, events: Sequence[Event], on_commit: Callable[[Sequence[Event]], None]) -> None:
        self.events = events
        self.is_open: Callable[[], bool] | None = None
        self._on_commit = on_commit
        self._ended = False

    @property
    def open(self) -> bool | None:
        """Whether the transaction is neither committed nor rolled back. None if this cannot be known."""
        return None if self.is_open is None else not self._ended and self.is_open()

    def committed(self) -> None:
        """Note the commit of the outermost transaction. Called in any thread. Never raises into the host's commit."""
        self._ended = True
        try:
            self._on_commit(self.events)
        except Exception:
            logger.exception("A listener of the host's commits failed.", extra=log_fields("listener.failed"))

    def rolled_back(self) -> None:
        """Note that the events were rolled back."""
        self._ended = True


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
