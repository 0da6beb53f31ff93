"""The product itself: users, API keys and documents, kept in memory. No framework, no webhooks."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

from pydantic import BaseModel, Field, ValidationError, field_validator

__all__ = [
    "SCOPES",
    "APIKey",
    "Credentials",
    "Document",
    "NewDocument",
    "NewKey",
    "Refused",
    "User",
    "Workspace",
    "parse",
]

SCOPES = ("documents:read", "documents:write", "webhooks:read", "webhooks:write")
"""What an API key may be allowed to do. Who is signed in may do all of it, and manage keys."""

ModelT = TypeVar("ModelT", bound=BaseModel)


class Refused(Exception):
    """A request that is not served, and what the caller is told."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.document = {"code": code, "detail": detail}


class Credentials(BaseModel):
    """What signing in takes."""

    email: str = Field(max_length=200)
    password: str = Field(max_length=200)


class NewKey(BaseModel):
    """What making an API key takes."""

    name: str = Field(min_length=1, max_length=100)
    scopes: list[str] = Field(default_factory=lambda: list(SCOPES), min_length=1)

    @field_validator("scopes")
    @classmethod
    def _known(cls, scopes: list[str]) -> list[str]:
        if unknown := sorted(set(scopes) - set(SCOPES)):
            raise ValueError(f"there is no scope {unknown[0]!r}; there are {', '.join(SCOPES)}")
        return sorted(set(scopes))


class NewDocument(BaseModel):
    """What making a document takes."""

    title: str = Field(min_length=1, max_length=200)


@dataclass(frozen=True, slots=True)
class User:
    """Someone who can sign in. `password` is a salted scrypt hash."""

    id: str
    name: str
    email: str
    password: str

    def document(self) -> dict[str, Any]:
        """The user as the routes show it."""
        return {"id": self.id, "name": self.name, "email": self.email}


@dataclass(frozen=True, slots=True)
class APIKey:
    """A key of a user. Only the hash of its secret is kept."""

    id: str
    owner: str
    name: str
    scopes: frozenset[str]
    digest: str

    def document(self) -> dict[str, Any]:
        """The key as the routes show it, without its secret."""
        return {"apiKeyId": self.id, "name": self.name, "scopes": sorted(self.scopes)}


@dataclass(frozen=True, slots=True)
class Document:
    """A document of a user."""

    id: str
    owner: str
    title: str
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def document(self) -> dict[str, Any]:
        """The document as the routes show it."""
        return {"documentId": self.id, "title": self.title, "createdAt": self.created_at.isoformat(timespec="seconds")}


class Workspace:
    """All that the product knows. A restart forgets it; a real product has a database here."""

    def __init__(self, users: Iterable[User]) -> None:
        self._users = {user.id: user for user in users}
        self._keys: dict[str, APIKey] = {}
        self._documents: list[Document] = []
        self._customers: dict[str, str] = {}

    def user(self, id: object) -> User | None:
        """The user of that id, or None."""
        return self._users.get(id) if isinstance(id, str) else None

    def sign_in(self, credentials: Credentials) -> User:
        """The user whose email and password these are. Takes some 50 ms of work: call it in a thread."""
        user = next((user for user in self._users.values() if user.email == credentials.email.lower()), None)
        # Somebody unknown takes as long as a wrong password, so that nobody learns who has an account.
        known = user.password if user else f"{'00' * 16}:{'00' * 64}"
        salt, _, expected = known.partition(":")
        digest = hashlib.scrypt(credentials.password.encode(), salt=bytes.fromhex(salt), n=2**14, r=8, p=1).hex()
        if not hmac.compare_digest(digest, expected) or user is None:
            raise Refused(401, "unauthorized", "There is no user with this email and password.")
        return user

    def create_key(self, owner: str, new: NewKey, secret: str | None = None) -> tuple[APIKey, str]:
        """Make an API key. Returns it with its secret, which is shown this once."""
        secret = secret or f"sk_{secrets.token_urlsafe(24)}"
        key = APIKey(f"key_{secrets.token_hex(8)}", owner, new.name, frozenset(new.scopes), _digest(secret))
        self._keys[key.digest] = key
        return key, secret

    def keys(self, owner: str) -> list[APIKey]:
        """The keys of a user, oldest first."""
        return [key for key in self._keys.values() if key.owner == owner]

    def find_key(self, secret: str) -> APIKey | None:
        """The key with this secret, or None."""
        return self._keys.get(_digest(secret))

    def revoke_key(self, owner: str, id: str) -> APIKey:
        """Remove a key of a user."""
        key = next((key for key in self.keys(owner) if key.id == id), None)
        if key is None:
            raise Refused(404, "not_found", "There is no such API key.")
        del self._keys[key.digest]
        return key

    def create_document(self, owner: str, new: NewDocument) -> Document:
        """Make a document."""
        document = Document(f"doc_{secrets.token_hex(8)}", owner, new.title)
        self._documents.append(document)
        return document

    def documents(self, owner: str) -> list[Document]:
        """The documents of a user, newest first."""
        return [document for document in reversed(self._documents) if document.owner == owner]

    def link_customer(self, customer: str, owner: str) -> None:
        """Remember whose customer id at Stripe this is."""
        self._customers[customer] = owner

    def customer(self, customer: str) -> str | None:
        """The id of the user with this customer id at Stripe, or None."""
        return self._customers.get(customer)


def parse(model: type[ModelT], body: bytes) -> ModelT:
    """A JSON body as a model, for hosts that bring no validation of their own."""
    try:
        return model.model_validate_json(body)
    except ValidationError as exc:
        error = exc.errors()[0]
        where = ".".join(str(part) for part in error["loc"]) or "body"
        raise Refused(422, "invalid_body", f"{where}: {error['msg']}.") from None


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
