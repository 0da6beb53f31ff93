"""The people who may open the console, as the host knows them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

from starlette.requests import HTTPConnection

from starlette_webhooks.audit import Actor
from starlette_webhooks.authentication import call_function

__all__ = ["Authorize", "Operator", "actor_of_operator", "check_authorize", "find_operator"]


@dataclass(frozen=True, slots=True)
class Operator:
    """Someone who may open the console.

    Attributes:
        name: For the audit log.
        read_only: Whether they may only look.
    """

    name: str
    read_only: bool = False


Authorize: TypeAlias = Callable[[HTTPConnection], Operator | str | None | Awaitable[Operator | str | None]]
"""Returns the operator or the name of the operator, or None for everybody else. A sync function runs in a thread."""


def check_authorize(authorize: Authorize | None) -> Authorize:
    """Return a function of the host, or raise `TypeError` if it is not one."""
    if not callable(authorize):
        raise TypeError(
            "`console` requires `authorize`, a function of the connection that returns the name of the operator, or "
            "None for everybody else."
        )
    return authorize


async def find_operator(authorize: Authorize, connection: HTTPConnection, *, read_only: bool) -> Operator | None:
    """Return who opens the console, or None for everybody else.

    Args:
        read_only: Whether all operators may only look.

    Raises:
        TypeError: `authorize` returned something else, such as the `Principal` of a customer.
    """
    found = cast(Any, await call_function(cast("Callable[[HTTPConnection], Any]", authorize), connection))
    if found is None:
        return None
    if isinstance(found, str):
        found = Operator(found)
    if not isinstance(found, Operator):
        # Principals are customers: with the `authenticate` of the routes, every customer would be an operator.
        raise TypeError(
            f"`authorize` of the console returned {type(found).__name__}. Return the name of the operator, "
            "`Operator(name, read_only=True)`, or None."
        )
    if not found.name:
        raise TypeError(
            "`authorize` of the console returned an empty name. Return the name of the operator, for the audit log, or "
            "None for everybody else."
        )
    return Operator(found.name, found.read_only or read_only)


def actor_of_operator(connection: HTTPConnection, operator: Operator) -> Actor:
    """Return the operator for the audit log."""
    return Actor("operator", operator.name, "" if connection.client is None else connection.client.host)
