"""The environment of a database, so that a copy of production does not call customers' endpoints from elsewhere.

The first process with `WEBHOOKS_ENVIRONMENT` stores the name in the database, and a dump or a copy of the file contains
it. From then on, only processes of the same environment use the database.
"""

from __future__ import annotations

from starlette_webhooks.exceptions import BackendUnavailable

__all__ = ["META_ENVIRONMENT", "check_environment"]

META_ENVIRONMENT = "environment"


def check_environment(bound: bytes | None, own: str | None, where: str) -> bool:
    """Refuse the database of another environment. Returns whether it must be bound to this one.

    Args:
        bound: The environment of the database, or None.
        own: The environment of this process, or None.

    Raises:
        BackendUnavailable: The database belongs to another environment.
    """
    if bound is None:
        return own is not None
    name = bound.decode()
    if name != own:
        here = f"runs in {own!r}" if own is not None else "names no environment"
        raise BackendUnavailable(
            f"{where[0].upper()}{where[1:]} belongs to the environment {name!r}, and this process {here} "
            "(`WEBHOOKS_ENVIRONMENT`). Nothing is delivered from it. If it is a copy, run `starlette-webhooks adopt`."
        )
    return False
