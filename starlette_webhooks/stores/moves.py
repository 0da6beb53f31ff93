"""A file whose contents were moved to another database must not be worked on again: all would be delivered twice."""

from __future__ import annotations

from starlette_webhooks.exceptions import BackendUnavailable

__all__ = ["META_MOVED_TO", "check_moved"]

META_MOVED_TO = "moved_to"
"""In the file: where it was moved to. Written before anything is committed there."""


def check_moved(moved_to: bytes | None, path: str) -> None:
    """Refuse a file that was moved, or is being moved.

    Raises:
        BackendUnavailable: It was.
    """
    if moved_to is not None:
        raise BackendUnavailable(
            f"The database {path!r} was moved to PostgreSQL at {moved_to.decode()}, or a move there was not completed. "
            "Set `WEBHOOKS_DATABASE` to that database, or run `starlette-webhooks move` once more. If nothing has run "
            "there since, `starlette-webhooks move --cancel` lets the file be used again."
        )
