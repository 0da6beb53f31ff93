"""The transport of a connection, to reset it. ASGI has no message for that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from starlette.types import Receive

__all__ = ["Transport", "find_transport"]


class Transport(Protocol):
    """A transport that can be aborted."""

    def abort(self) -> None:
        """Reset the connection, and drop what its client has not read."""


def find_transport(receive: Receive) -> Transport | None:
    """Return the transport if `receive` is uvicorn's own, otherwise None.

    Without a reset, uvicorn would wait for a client that never reads, even at shutdown.
    """
    transport: Transport | None = getattr(getattr(receive, "__self__", None), "transport", None)
    return transport if hasattr(transport, "abort") else None
