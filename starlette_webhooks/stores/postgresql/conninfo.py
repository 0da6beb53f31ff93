"""From a URL to the parameters of a connection. Passwords stay inside."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

__all__ = ["ConnectionInfo", "parse_url"]

# `postgres://`, and what SQLAlchemy calls `postgresql+asyncpg://`.
_SCHEME = re.compile(r"postgres(ql)?(\+[a-z0-9_]+)?://", re.IGNORECASE)

# A server that vanished without a word is noticed within 10 seconds or so, whether we send to it or wait for it.
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
    """Where the database is.

    Attributes:
        conninfo: The connection string of libpq. It may hold a password.
        description: Host, port and database, for messages.
    """

    conninfo: str = field(repr=False)
    description: str


def parse_url(url: str) -> ConnectionInfo:
    """Read a URL of PostgreSQL, and set what it leaves open.

    Raises:
        ValueError: It is not a URL of PostgreSQL. The message does not show it, as it may hold a password.
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
            "special characters of the password as %XX. Behind `?`, only parameters of libpq are known."
        ) from None
    parameters = {**_DEFAULTS, **{name: str(value) for name, value in given.items() if value is not None}}
    if "," in parameters.get("host", ""):
        # Of several servers, the one that takes writes.
        parameters.setdefault("target_session_attrs", "read-write")
    return ConnectionInfo(make_conninfo("", **parameters), _describe(parameters))


def _describe(parameters: Mapping[str, str]) -> str:
    hosts = parameters.get("host", "localhost").split(",")
    ports = parameters.get("port", "5432").split(",")
    if len(ports) == 1:
        ports *= len(hosts)
    where = ",".join(f"{host}:{port}" for host, port in zip(hosts, ports, strict=False))
    return f"{where}/{parameters.get('dbname', parameters.get('user', ''))}"
