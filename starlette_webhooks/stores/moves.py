"""The marks of a file that was moved to another database. If it were used again, events would be delivered twice."""

from __future__ import annotations

from starlette_webhooks.exceptions import BackendUnavailable

__all__ = ["META_MOVED_FROM", "META_MOVED_TO", "META_MOVE_ID", "check_moved"]

META_MOVED_TO = "moved_to"
"""In the file: the database that it was moved to. Written before anything is committed there."""

META_MOVE_ID = "move_id"
"""In the file: the unique name of the move."""

META_MOVED_FROM = "moved_from"
"""In the other database: the `move_id` of its contents, committed together with them."""


def check_moved(moved_to: bytes | None, path: str) -> None:
    """Refuse a file that was moved, or is being moved.

    Raises:
        BackendUnavailable: The file was or is being moved.
    """
    if moved_to is not None:
        raise BackendUnavailable(
            f"The database {path!r} was moved to PostgreSQL at {moved_to.decode()}, or a move there was interrupted. "
            "Set `WEBHOOKS_DATABASE` to that database; or run `starlette-webhooks move` again, which completes the "
            "move, or undoes what was interrupted with `--cancel`."
        )
