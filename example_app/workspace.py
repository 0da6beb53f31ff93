"""Users, API keys and Stripe's customers, in memory. Independent of frameworks and webhooks."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, Field, ValidationError, field_validator

__all__ = [
    "SCOPES",
    "APIKey",
    "Credentials",
    "NewKey",
    "Refused",
    "User",
    "Workspace",
    "parse",
]

SCOPES = ("documents:read", "documents:write", "webhooks:read", "webhooks:write")
"""The scopes of API keys. Signed-in users have all of them, and can manage keys."""

ModelT = TypeVar("ModelT", bound=BaseModel)


class Refused(Exception):
    """Raised for a refused request, with a message for the caller."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.document = {"code": code, "detail": detail}


class Credentials(BaseModel):
    """The body of a sign-in."""

    email: str = Field(max_length=200)
    password: str = Field(max_length=200)


class NewKey(BaseModel):
    """The body for creating an API key."""

    name: str = Field(min_length=1, max_length=100)
    scopes: list[str] = Field(default_factory=lambda: list(SCOPES), min_length=1)

    @field_validator("scopes")
    @classmethod
    def _known(cls, scopes: list[str]) -> list[str]:
        if unknown := sorted(set(scopes) - set(SCOPES)):
            raise ValueError(f"there is no scope {unknown[0]!r}; there are {', '.join(SCOPES)}")
        return sorted(set(scopes))


@dataclass(frozen=True, slots=True)
class User:
    """Someone who can sign in. `password` is a salted scrypt hash."""

    id: str
    name: str
    email: str
    password: str

    def document(self) -> dict[str, Any]:
        """Return the user as the routes show it."""
        return {"id": self.id, "name": self.name, "email": self.email}


@dataclass(frozen=True, slots=True)
class APIKey:
    """An API key of a user. Only the hash of its secret is stored."""

    id: str
    owner: str
    name: str
    scopes: frozenset[str]
    digest: str

    def document(self) -> dict[str, Any]:
        """Return the key as the routes show it, without its secret."""
        return {"apiKeyId": self.id, "name": self.name, "scopes": sorted(self.scopes)}


class Workspace:
    """Users and keys, in memory. A real product would keep them in its database, too."""

    def __init__(self, users: Iterable[User]) -> None:
        self._users = {user.id: user for user in users}
        self._keys: dict[str, APIKey] = {}
        self._customers: dict[str, str] = {}

    def user(self, id: object) -> User | None:
        """Return the user with this id, or None."""
        return self._users.get(id) if isinstance(id, str) else None

    def sign_in(self, credentials: Credentials) -> User:
        """Return the user with this email and password. Takes about 50 ms of CPU, so call it in a thread."""
        user = next((user for user in self._users.values() if user.email == credentials.email.lower()), None)
        # An unknown email takes as long as a wrong password, which hides whether there is an account.
        known = user.password if user else f"{'00' * 16}:{'00' * 64}"
        salt, _, expected = known.partition(":")
        digest = hashlib.scrypt(credentials.password.encode(), salt=bytes.fromhex(salt), n=2**14, r=8, p=1).hex()
        if not hmac.compare_digest(digest, expected) or user is None:
            raise Refused(401, "unauthorized", "There is no user with this email and password.")
        return user

    def create_key(self, owner: str, new: NewKey, secret: str | None = None) -> tuple[APIKey, str]:
        """Create an API key. Returns it with its secret, which is shown only once."""
        secret = secret or f"sk_{secrets.token_urlsafe(24)}"
        key = APIKey(f"key_{secrets.token_hex(8)}", owner, new.name, frozenset(new.scopes), _digest(secret))
        self._keys[key.digest] = key
        return key, secret

    def keys(self, owner: str) -> list[APIKey]:
        """Return the keys of a user, oldest first."""
        return [key for key in self._keys.values() if key.owner == owner]

    def find_key(self, secret: str) -> APIKey | None:
        """Return the key with this secret, or None."""
        return self._keys.get(_digest(secret))

    def revoke_key(self, owner: str, id: str) -> APIKey:
        """Delete a key of a user."""
        key = next((key for key in self.keys(owner) if key.id == id), None)
        if key is None:
            raise Refused(404, "not_found", "There is no such API key.")
        del self._keys[key.digest]
        return key

    def link_customer(self, customer: str, owner: str) -> None:
        """Remember a user's customer id at Stripe."""
        self._customers[customer] = owner

    def customer(self, customer: str) -> str | None:
        """Return the id of the user with this customer id at Stripe, or None."""
        return self._customers.get(customer)


def parse(model: type[ModelT], body: bytes) -> ModelT:
    """Parse a JSON body as a model, for frameworks without validation."""
    try:
        return model.model_validate_json(body)
    except ValidationError as exc:
        error = exc.errors()[0]
        where = ".".join(str(part) for part in error["loc"]) or "body"
        raise Refused(422, "invalid_body", f"{where}: {error['msg']}.") from None


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
