"""The audit log: who read a secret, changed an endpoint, or opened a portal.

Each entry is one record of the logger `starlette_webhooks.audit`, at level INFO. Its message is a JSON object, and the
attribute `audit` of the record contains the same fields as a dict. The names of fields and actions are stable. Entries
contain no secrets: URLs are shortened to their origin.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from starlette.requests import HTTPConnection

from starlette_webhooks.authentication import Principal
from starlette_webhooks.scope import BY_KEY, SESSION

__all__ = ["CODE", "Action", "Actor", "actor_of", "record"]

logger = logging.getLogger("starlette_webhooks.audit")

Action: TypeAlias = Literal[
    "endpoint.created",
    "endpoint.changed",
    "endpoint.deleted",
    "secret.read",
    "secret.rotated",
    "portal.link_created",
    "portal.opened",
    "portal.signed_out",
    "sessions.revoked",
    "tenant.erased",
    "payload.read",
    "deliveries.retried",
    "dead_letters.redriven",
    "dead_letters.discarded",
    "events.pruned",
    "secrets.encrypted",
    "database.backed_up",
    "database.restored",
    "database.migrated",
    "database.granted",
    "database.moved",
    "database.move_canceled",
    "database.adopted",
    "outbox.adopted",
]


@dataclass(frozen=True, slots=True)
class Actor:
    """The caller of an action.

    Attributes:
        via: `key` for an API key, `session` for a portal session, `host` for a user of the host, `code` for a call of
            the host's own code, `operator` for someone at the console, `command` for a user of the command.
        subject: `Principal.subject`: the id of the key or user. The name of an operator, or of the user of the machine.
        address: The IP address of the client, from the server.
    """

    via: Literal["key", "session", "host", "code", "operator", "command"]
    subject: str = ""
    address: str = ""


CODE = Actor("code")
"""The host's own code."""


def actor_of(connection: HTTPConnection, principal: Principal) -> Actor:
    """Return the caller of a request."""
    address = "" if connection.client is None else connection.client.host
    if SESSION in connection.scope:
        return Actor("session", principal.subject, address)
    return Actor("key" if connection.scope.get(BY_KEY) else "host", principal.subject, address)


def record(action: Action, tenant: str, actor: Actor, **details: str | Sequence[str]) -> None:
    """Write an entry.

    Args:
        details: Fields that depend on the action, such as `endpoint`, `origin`, `fields`, `event`, `count`, `ids`.
    """
    if not logger.isEnabledFor(logging.INFO):
        return
    fields: dict[str, object] = {
        "action": action,
        "tenant": tenant,
        "via": actor.via,
        "subject": actor.subject,
        "address": actor.address,
        **details,
    }
    # As JSON, so that a caller's text cannot start a new line.
    logger.info("%s", json.dumps(fields), extra={"audit": fields})
