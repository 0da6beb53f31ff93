"""Reads settings from the environment: `WEBHOOKS_...`, `SVIX_API_KEY`, `SVIX_SERVER_URL`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import ValidationError

from starlette_webhooks.settings import WebhooksSettings

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

__all__ = ["load_settings", "variable_of"]

_SVIX_OWN = frozenset({"svix_api_key", "svix_server_url"})


def load_settings() -> WebhooksSettings:
    """Read the settings from the environment.

    Raises:
        ValueError: A value is not valid. The message names the variable.
    """
    try:
        return WebhooksSettings()
    except ValidationError as exc:
        raise ValueError("The settings are not valid. " + " ".join(map(_describe, exc.errors()))) from None


def _describe(error: ErrorDetails) -> str:
    # The value itself may be secret.
    return f"{variable_of(str(error['loc'][0]))}: {error['msg'].removeprefix('Value error, ').rstrip('.')}."


def variable_of(field: str) -> str:
    """The environment variable of a setting."""
    return (
        field.upper()
        if field.upper().startswith("SVIX_") and field.lower() in _SVIX_OWN
        else f"WEBHOOKS_{field.upper()}"
    )
