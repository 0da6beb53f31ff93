"""Putting rows into the transaction of the host: what `within=` may be, and the state of what was written."""

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
    ("sqlalchemy", "ShardedSession"): "The session has several databases, and the event belongs into one of them. Pass "
    'the connection of that one: `within=session.connection(bind_arguments={"shard_id": ...})`.',
    ("sqlalchemy", "Engine"): "An engine has no transaction. Pass a session or a connection.",
    ("sqlalchemy", "AsyncEngine"): "An engine has no transaction. Pass a session or a connection.",
    ("sqlalchemy", "sessionmaker"): "Pass the session itself, not what makes it.",
    ("sqlalchemy", "async_sessionmaker"): "Pass the session itself, not what makes it.",
    ("sqlalchemy", "Transaction"): "Pass the connection, not its transaction.",
    ("asyncpg", "Pool"): "Pass a connection of the pool: `async with pool.acquire() as connection:`.",
    ("psycopg", "BaseCursor"): "Pass the connection, not a cursor of it.",
    ("sqlite3", "Cursor"): "Pass the connection, not a cursor of it.",
    ("aiosqlite", "Connection"): "Use `outbox.statement(...)` with this driver.",
}
_SUPPORTED = (
    "`within` must be a session or a connection of SQLAlchemy, or a connection of psycopg, asyncpg or sqlite3, whose "
    "transaction the event shall belong to, not {}. "
)
COMMITS_BY_ITSELF = (
    "This connection commits each statement by itself, so the event would be out whatever becomes of your "
    "transaction. {}"
)


def kind_of(within: object) -> Kind:
    """What the host has given, told by its class alone: nothing is imported for it.

    Raises:
        TypeError: It has no transaction that we know of. The message says what to pass.
    """
    for cls in type(within).__mro__:
        name = (cls.__module__.partition(".")[0], cls.__name__)
        if name in _HINTS:
            raise TypeError(_SUPPORTED.format(f"`{cls.__name__}`") + _HINTS[name])
        if name in _KINDS:
            return _KINDS[name]
    raise TypeError(
        _SUPPORTED.format(f"`{type(within).__qualname__}`") + "For other drivers there is `outbox.statement(...)`."
    )


def refuse(remedy: str) -> NoReturn:
    """Refuse a connection that commits by itself.

    Raises:
        RuntimeError: Always.
    """
    raise RuntimeError(COMMITS_BY_ITSELF.format(remedy))


class Written:
    """Events that are in a transaction of the host.

    Attributes:
        open: Whether the transaction is known to be neither committed nor rolled back. None where it cannot be known.
    """

    __slots__ = ("_on_commit", "events", "open")

    def __init__(self, events: Sequence[Event], on_commit: Callable[[Sequence[Event]], None]) -> None:
        self.events = events
        self._on_commit = on_commit
        self.open: bool | None = None

    def committed(self) -> None:
        """The outermost transaction was committed. In any thread; never raises, as it runs in the host's commit."""
        self.open = False
        try:
            self._on_commit(self.events)
        except Exception:
            logger.exception("Something that follows the commits of the host failed.")

    def rolled_back(self) -> None:
        """The events do not exist."""
        self.open = False


class UncommittedSubmission:
    """The `Submission` of events in a transaction of the host, for which nobody can wait."""

    __slots__ = ()
    finished = True
    failed = True

    async def wait(self) -> NoReturn:
        """Refuse, instead of waiting for ever.

        Raises:
            RuntimeError: Always.
        """
        raise RuntimeError(
            "An event that is emitted `within` your transaction exists once you commit, so there is nothing to await "
            "before. Use the result without `await`; it has the event as `event`."
        )
