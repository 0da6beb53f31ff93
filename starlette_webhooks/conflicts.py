"""The conflicts of endpoints, with the same code and message on every backend."""

from __future__ import annotations

from starlette_webhooks.exceptions import Conflict

__all__ = ["endpoint_disabled", "endpoint_limit", "recovery_running", "same_secret", "too_many_secrets"]


def endpoint_limit(count: int) -> Conflict:
    """Return the error for a tenant at the limit of endpoints."""
    return Conflict(f"There are {count} endpoints, which is the limit. Delete one first.", code="endpoint_limit")


def endpoint_disabled(identifier: str, reason: str | None = None) -> Conflict:
    """Return the error for a delivery to a disabled endpoint."""
    why = f" ({reason})" if reason else ""
    return Conflict(
        f'The endpoint `{identifier}` is disabled{why}. Enable it first: `PATCH` it with `{{"disabled": false}}`.',
        code="endpoint_disabled",
    )


def recovery_running(identifier: str) -> Conflict:
    """Return the error for a recovery while another one of the same endpoint runs."""
    return Conflict(
        f"A recovery of the endpoint `{identifier}` is running. Wait until it has ended.", code="recovery_running"
    )


def same_secret() -> Conflict:
    """Return the error for a rotation to the current secret."""
    return Conflict(
        "This is already the current secret. Send another one, or none for a random one.", code="same_secret"
    )


def too_many_secrets() -> Conflict:
    """Return the error for a rotation while too many earlier secrets are still valid."""
    return Conflict(
        "Too many secrets of this endpoint are still valid. Wait until older ones have expired.",
        code="too_many_secrets",
    )
