"""The tables of an outbox for SQLAlchemy: for `create_all`, for Alembic, and for sessions. Imports SQLAlchemy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, Column, Index, LargeBinary, MetaData, String, Table, event, text
from sqlalchemy.dialects import mysql
from sqlalchemy.orm import registry
from sqlalchemy.schema import CreateSchema

from starlette_webhooks.outbox.places import Tables
from starlette_webhooks.outbox.queries import NOW

__all__ = ["SQLAlchemyTables", "build_tables"]


@dataclass(frozen=True, slots=True)
class SQLAlchemyTables:
    """The tables, and the class whose instances sessions insert."""

    metadata: MetaData
    outbox: Table
    row: type[Any]


def build_tables(tables: Tables) -> SQLAlchemyTables:
    """Describe the tables for SQLAlchemy."""
    metadata = MetaData()
    now = text(f"({NOW[tables.dialect]})")

    def rows(name: str, *more: Column[Any]) -> Table:
        return Table(
            name,
            metadata,
            Column("id", _text(64), primary_key=True),
            Column("tenant", _text(256), nullable=False),
            # A plain `LargeBinary` is limited to 64 KB in MariaDB.
            Column("body", LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb"), nullable=False),
            Column("created_at", BigInteger, nullable=False, server_default=now),
            *more,
            Index(f"{name}_by_time", "created_at", "id"),
            schema=tables.schema,
        )

    outbox = rows(tables.name)
    rows(tables.dead_letters, Column("code", _text(256), nullable=False), Column("detail", _text(2000), nullable=False))
    Table(
        tables.relay,
        metadata,
        Column("name", _text(16), primary_key=True),
        Column("holder", _text(64), nullable=False),
        Column("term", BigInteger, nullable=False),
        Column("until", BigInteger, nullable=False),
        Column("log", _text(64), nullable=False),
        schema=tables.schema,
    )
    if tables.dialect == "postgresql" and tables.schema is not None:
        event.listen(metadata, "before_create", _create_schema(tables.schema))
    row = type("OutboxRow", (), {})
    registry().map_imperatively(row, outbox, eager_defaults=False, exclude_properties=["created_at"])
    return SQLAlchemyTables(metadata, outbox, row)


def _text(length: int) -> Any:
    # Compared bytewise in every database, because ids are case-sensitive, and so are tenants.
    return (
        String(length)
        .with_variant(String(collation="C"), "postgresql")
        .with_variant(mysql.VARCHAR(length, charset="utf8mb4", collation="utf8mb4_bin"), "mysql", "mariadb")
    )


def _create_schema(schema: str) -> Any:
    def create(_: object, connection: Any, **__: object) -> None:
        connection.execute(CreateSchema(schema, if_not_exists=True))

    return create
