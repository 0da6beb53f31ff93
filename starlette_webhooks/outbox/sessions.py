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
        RuntimeError: The session is bound to another database, or to none.
    """
    # A session that routes cannot know its bind before the flush.
    if type(session).get_bind is Session.get_bind:
        try:
            bind = session.get_bind(row_type)
        except UnboundExecutionError:
            raise RuntimeError(
                "This session is not bound to the database of the outbox. Bind it to one engine, or if it has "
                "`binds`, add `outbox.row: engine` to them."
            ) from None
        if bind.get_execution_options().get("isolation_level") == "AUTOCOMMIT":
            refuse('Bind the session to an engine whose `isolation_level` is not "AUTOCOMMIT".')
        check(bind)
    added = []
    for row in rows:
        instance = row_type()
        instance.id, instance.tenant, instance.body = row.id, row.tenant, row.body
        added.append(instance)
    session.add_all(added)
    follower = session.info.get(_KEY)
    if follower is None:
        follower = session.info[_KEY] = _Follower()
        follower.follow(session)
    follower.add(session, written, added)


class _Entry:
    __slots__ = ("instances", "transaction", "written")

    def __init__(self, written: Written, instances: list[Any], transaction: SessionTransaction | None) -> None:
        self.written = written
        self.instances = instances
        self.transaction = transaction


class _Follower:
    """Follows the transactions of a session without loading anything from it. Registered once per session."""

    __slots__ = ("_entries",)

    def __init__(self) -> None:
        self._entries: list[_Entry] = []

    def follow(self, session: Session) -> None:
        event.listen(session, "before_commit", self._before_commit)
        event.listen(session, "after_commit", self._after_commit)
        event.listen(session, "after_soft_rollback", self._after_soft_rollback)
        event.listen(session, "after_transaction_end", self._after_transaction_end)

    def add(self, session: Session, written: Written, instances: list[Any]) -> None:
        written.open = True
        self._entries.append(_Entry(written, instances, _innermost(session)))

    def _before_commit(self, session: Session) -> None:
        for entry in self._entries:
            for instance in entry.instances:
                # `expunge_all()` removed it before a flush. Emitted events must not be lost by this.
                if inspect(instance).transient:
                    session.add(instance)

    def _after_commit(self, session: Session) -> None:
        # This includes a released savepoint, and the transaction around it may still be rolled back.
        nested = session.get_nested_transaction()
        if nested is not None:
            for entry in self._entries:
                if entry.transaction is nested:
                    entry.transaction = nested.parent
            return
        entries, self._entries = self._entries, []
        for entry in entries:
            entry.written.committed()

    def _after_soft_rollback(self, _: Session, transaction: SessionTransaction) -> None:
        self._drop(lambda entry: entry.transaction is transaction)

    def _after_transaction_end(self, _: Session, transaction: SessionTransaction) -> None:
        # Also when the session closes without a commit.
        if transaction.parent is None:
            self._drop(lambda _: True)

    def _drop(self, is_lost: Callable[[_Entry], bool]) -> None:
        if not self._entries:
            return
        for entry in self._entries:
            if is_lost(entry):
                entry.written.rolled_back()
        self._entries = [entry for entry in self._entries if not is_lost(entry)]


def _innermost(session: Session) -> SessionTransaction | None:
    return session.get_nested_transaction() or session.get_transaction()
