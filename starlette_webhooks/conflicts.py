"""The conflicts that an endpoint can be in, with the same code and words on every backend."""

from __future__ import annotations

from starlette_webhooks.exceptions import Conflict

__all__ = ["endpoint_disabled", "endpoint_limit", "same_secret", "too_many_secrets"]


def endpoint_limit(count: int) -> Conflict:
    """The tenant has as many endpoints as it may have."""
    return Conflict(
        f"There are {count} endpoints already, and no more are allowed. Delete one first.", code="endpoint_limit"
    )


def endpoint_disabled(identifier: str, reason: str | None = None) -> Conflict:
    """Nothing is delivered to a disabled endpoint, also not on request."""
    why = f" ({reason})" if reason else ""
    return Conflict(
        f'The endpoint `{identifier}` is disabled{why}. Enable it first: `PATCH` it with `{{"disabled": false}}`.',
        code="endpoint_disabled",
    )


def same_secret() -> Conflict:
    """A rotation to the secret that the endpoint has."""
    return Conflict(
        "This is already the secret. Send another one, or leave it out for a random one.", code="same_secret"
    )


def too_many_secrets() -> Conflict:
    """A rotation while too many earlier secrets are still valid."""
    return Conflict(
        "Too many secrets of this endpoint are still valid. Wait until older ones have expired, 24 hours after they "
        "were replaced.",
        code="too_many_secrets",
    )
