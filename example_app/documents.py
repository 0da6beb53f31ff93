"""Documents, in the product's own database by SQLAlchemy. Independent of frameworks.

`EXAMPLE_DATABASE` names the database: a file `documents.db` by default, or `postgresql://user@host/name`.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, Field
from sqlalchemy import BigInteger, make_url, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from starlette_webhooks.outbox import Outbox

__all__ = ["Document", "NewDocument", "create_document", "lifespan", "list_documents", "outbox", "transaction"]


class NewDocument(BaseModel):
    """The body for creating a document."""

    title: str = Field(min_length=1, max_length=200)


class Base(DeclarativeBase):
    """The tables of the product."""


class Document(Base):
    """A document of a user."""

    __tablename__ = "documents"

    number: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(unique=True)
    owner: Mapped[str] = mapped_column(index=True)
    title: Mapped[str]
    # Seconds since the epoch, because SQLite has no time zones.
    created: Mapped[int] = mapped_column(BigInteger)

    @property
    def created_at(self) -> datetime:
        """When it was created, in UTC."""
        return datetime.fromtimestamp(self.created, UTC)

    def document(self) -> dict[str, Any]:
        """Return the document as the routes show it."""
        return {"documentId": self.id, "title": self.title, "createdAt": self.created_at.isoformat()}


def _engine_of(url: str) -> AsyncEngine:
    parsed = make_url(url)
    driver = "sqlite+aiosqlite" if parsed.get_backend_name() == "sqlite" else "postgresql+psycopg"
    return create_async_engine(parsed.set(drivername=driver))


_engine = _engine_of(os.environ.get("EXAMPLE_DATABASE") or "sqlite:///documents.db")
transaction = async_sessionmaker(_engine, expire_on_commit=False).begin
"""A session whose transaction commits at the end of the block, or rolls back after an error."""

outbox = Outbox(_engine)
"""The table for events that are emitted within a session: the backend's own, if both are in one PostgreSQL database."""


@asynccontextmanager
async def lifespan(app: object = None) -> AsyncIterator[None]:
    """Create the tables, and close the connections at the end. Fits each of the frameworks."""
    async with _engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
        await connection.run_sync(outbox.metadata.create_all)
    try:
        yield
    finally:
        await _engine.dispose()


def create_document(session: AsyncSession, owner: str, new: NewDocument) -> Document:
    """Create a document. It exists once the session commits."""
    id = f"doc_{secrets.token_hex(8)}"
    document = Document(id=id, owner=owner, title=new.title, created=int(time.time()))
    session.add(document)
    return document


async def list_documents(session: AsyncSession, owner: str) -> Sequence[Document]:
    """Return the documents of a user, newest first."""
    query = select(Document).where(Document.owner == owner).order_by(Document.number.desc())
    return (await session.scalars(query)).all()
