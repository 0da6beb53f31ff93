"""Writes rows with sessions of SQLAlchemy and SQLModel, synchronously with the next flush."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine, event, inspect
from sqlalchemy.exc import UnboundExecutionError
from sqlalchemy.orm import Session

from starlette_webhooks.outbox.rows import Row
from starlette_webhooks.outbox.writing import Written, refuse

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.orm import SessionTransaction

__all__ = ["add_to_session", "session_behind"]

_KEY = "starlette_webhooks.within"


def session_behind(within: Any) -> Session:
    """Return the `Session` behind an `AsyncSession` or a registry."""
    if hasattr(within, "registry"):
        within = within.registry()
    sync: Session = getattr(within, "sync_session", within)
    return sync


def add_to_session(
    session: Session,
    row_type: type[Any],
    check: Callable[[Engine | Connection], None],
    rows: Sequence[Row],
    written: Written,
) -> None:
    """Add rows to a session, and follow its transaction.

    Args:
        row_type: The mapped class of the table.
        check: Called with the bind of the session, and again by the mapper when the rows are inserted.

    Raises:
        RuntimeError: The session is bound to another database or to none, or cannot write at the moment.
    """
    if not session.is_active:
        # What is added now would be discarded, or be part of the session's next transaction.
        raise RuntimeError(
            "The transaction of this session has failed, or is being committed: by another thread, or by the caller of "
            "your hook. Roll it back if it has failed, emit before the commit, and use a session in one thread at a "
            "time."
        )
    follower = session.info.get(_KEY)
    # A session that routes cannot know its bind before the flush.
    if follower is None and type(session).get_bind is Session.get_bind:
        _check_bind(session, row_type, check)
    added = []
    for row in rows:
        instance = row_type()
        instance.id, instance.tenant, instance.body = row.id, row.tenant, row.body
        added.append(instance)
    session.add_all(added)
    if follower is None:
        follower = session.info[_KEY] = _Follower(session)
    follower.add(session, written, added)


def _check_bind(session: Session, row_type: type[Any], check: Callable[[Engine | Connection], None]) -> None:
    try:
        bind = session.get_bind(row_type)
    except UnboundExecutionError:
        raise RuntimeError(
            "This session is not bound to the database of the outbox. Bind it to one engine, or if it has `binds`, add "
            "`outbox.row: engine` to them."
        ) from None
    if bind.get_execution_options().get("isolation_level") == "AUTOCOMMIT":
        refuse('Bind the session to an engine whose `isolation_level` is not "AUTOCOMMIT".')
    check(bind)


def _listen(session: Session, name: str, listener: Callable[..., None]) -> None:
    """Register a listener with this session only.

    `event.listen` also notes it in a global registry, so that it can be removed. That takes most of its time, and a
    third of the time of an `emit`.
    """
    dispatch: Any = session.dispatch
    try:
        listeners = getattr(dispatch, name).for_modify(dispatch).listeners
    except AttributeError:  # pragma: no cover - for versions of SQLAlchemy that do it in another way
        event.listen(session, name, listener)
    else:
        listeners.append(listener)


class _Entry:
    """What was written in a transaction.

    Attributes:
        outermost: The transaction, which tells what was rolled back with it. A session may begin another one.
        savepoint: The savepoint around it.
    """

    __slots__ = ("instances", "outermost", "savepoint", "written")

    def __init__(
        self,
        written: Written,
        instances: list[Any],
        outermost: SessionTransaction | None,
        savepoint: SessionTransaction | None,
    ) -> None:
        self.written = written
        self.instances = instances
        self.outermost = outermost
        self.savepoint = savepoint
        written.is_open = self.is_open

    def is_open(self) -> bool:
        return self.outermost is not None and self.outermost.is_active


class _Follower:
    """Follows the transactions of a session without loading anything from it. Registered once per session."""

    __slots__ = ("_entries", "_sees_savepoints")

    def __init__(self, session: Session) -> None:
        self._entries: list[_Entry] = []
        self._sees_savepoints = False
        _listen(session, "before_commit", self._before_commit)
        _listen(session, "after_commit", self._after_commit)

    def add(self, session: Session, written: Written, instances: list[Any]) -> None:
        outermost, savepoint = session.get_transaction(), session.get_nested_transaction()
        if savepoint is not None and not self._sees_savepoints:
            self._sees_savepoints = True
            _listen(session, "after_transaction_end", self._after_transaction_end)
        self._forget_earlier(outermost)
        self._entries.append(_Entry(written, instances, outermost, savepoint))

    def _forget_earlier(self, outermost: SessionTransaction | None) -> None:
        """Forget what was written in earlier transactions, which were rolled back or closed without a commit."""
        self._drop(lambda entry: entry.outermost is not outermost)

    def _drop(self, is_lost: Callable[[_Entry], bool]) -> None:
        if self._entries and any(map(is_lost, self._entries)):
            for entry in filter(is_lost, self._entries):
                entry.written.rolled_back()
            self._entries = [entry for entry in self._entries if not is_lost(entry)]

    def _before_commit(self, session: Session) -> None:
        self._forget_earlier(session.get_transaction())
        for entry in self._entries:
            for instance in entry.instances:
                # `expunge_all()` removed it before a flush. Emitted events must not be lost by this.
                if inspect(instance).transient:
                    session.add(instance)

    def _after_commit(self, session: Session) -> None:
        # This includes a released savepoint, and the transaction around it may still be rolled back.
        savepoint = session.get_nested_transaction()
        if savepoint is not None:
            for entry in self._entries:
                if entry.savepoint is savepoint:
                    entry.savepoint = savepoint.parent
            return
        entries, self._entries = self._entries, []
        for entry in entries:
            entry.written.committed()

    def _after_transaction_end(self, _: Session, transaction: SessionTransaction) -> None:
        self._drop(lambda entry: entry.savepoint is transaction)
