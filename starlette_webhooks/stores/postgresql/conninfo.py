"""Parses a URL to the parameters of a connection, without showing passwords."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

__all__ = ["ConnectionInfo", "parse_url"]

# `postgres://`, and SQLAlchemy's `postgresql+asyncpg://`.
_SCHEME = re.compile(r"postgres(ql)?(\+[a-z0-9_]+)?://", re.IGNORECASE)

# Detects a server that disappeared within about 10 seconds, both while sending and while waiting.
_DEFAULTS = {
    "application_name": "starlette_webhooks",
    "client_encoding": "UTF8",
    "connect_timeout": "3",
    "keepalives": "1",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
}


@dataclass(frozen=True, slots=True)
class ConnectionInfo:
    """The address of the database.

    Attributes:
        conninfo: The connection string of libpq. It may contain a password.
        description: Host, port and database, for messages.
        statement_timeout: Seconds after which the server ends a statement, for example because the client was killed
            while it waited for a lock. 0 leaves it to the role and the server.
    """

    conninfo: str = field(repr=False)
    description: str
    statement_timeout: float = 0.0


def parse_url(url: str) -> ConnectionInfo:
    """Parse a URL of PostgreSQL, and add default parameters.

    Raises:
        ValueError: The URL is not valid. The message does not show it, because it may contain a password.
    """
    match = _SCHEME.match(url)
    if match is None:
        raise ValueError("Use a URL such as `postgresql://user:password@host:5432/database`.")
    try:
        given = conninfo_to_dict(f"postgresql://{url[match.end() :]}")
    except psycopg.Error:
        # libpq's message quotes the URL.
        raise ValueError(
            "The URL of PostgreSQL cannot be read. Use `postgresql://user:password@host:5432/database`, and write "
            "special characters of the password as %XX. After `?`, only parameters of libpq are allowed."
        ) from None
    parameters = {**_DEFAULTS, **{name: str(value) for name, value in given.items() if value is not None}}
    if "," in parameters.get("host", ""):
        # Of several servers, the one that accepts writes.
        parameters.setdefault("target_session_attrs", "read-write")
    return ConnectionInfo(make_conninfo("", **parameters), _describe(parameters))


def _describe(parameters: Mapping[str, str]) -> str:
    hosts = parameters.get("host", "localhost").split(",")
    ports = parameters.get("port", "5432").split(",")
    if len(ports) == 1:
        ports *= len(hosts)
    where = ",".join(f"{host}:{port}" for host, port in zip(hosts, ports, strict=False))
    return f"{where}/{parameters.get('dbname', parameters.get('user', ''))}"
