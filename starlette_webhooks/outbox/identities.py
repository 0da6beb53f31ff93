"""The PostgreSQL server that the outbox is on. Another server can have a database of the same name."""

from __future__ import annotations

__all__ = ["ServerIdentity"]


class ServerIdentity:
    """Decides whether a driver's connection must prove that it leads to the server of the outbox.

    Drivers know the address of a connection, but a pooler or another name has another address than the server. The
    first insert at each address therefore compares the server's own identifier, in the same statement.

    Attributes:
        identifier: The identifier that PostgreSQL gave to the server and its standbys; empty while it is unknown.
    """

    def __init__(self) -> None:
        self.identifier = ""
        self._proven: set[object] = set()

    def expected_at(self, address: object) -> str:
        """Return the identifier that the server at this address must have. Empty if there is nothing to compare."""
        return "" if address in self._proven else self.identifier

    def is_proven(self, address: object) -> None:
        """Note that the server at this address is the one of the outbox. None for an unknown address."""
        if self.identifier and address is not None:
            self._proven.add(address)
