"""Settings for tests, independent of the environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic_settings import BaseSettings, PydanticBaseSettingsSource as Source

from starlette_webhooks.settings import WebhooksSettings


class _Arguments(WebhooksSettings):
    """Settings from arguments only, which saves most of the time that it takes to create them."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: Source,
        env_settings: Source,
        dotenv_settings: Source,
        file_secret_settings: Source,
    ) -> tuple[Source, ...]:
        return (init_settings,)


def make_settings(directory: Path | None = None, **changes: Any) -> WebhooksSettings:
    """Settings with a database in the directory, or in memory without one. Deliveries to loopback are allowed."""
    values: dict[str, Any] = {
        "database": ":memory:" if directory is None else str(directory / "webhooks.db"),
        "allow_networks": "127.0.0.0/8,::1/128",
        "svix_api_key": None,
        "handle_signals": False,
        # Tests emit by `POST /test`.
        "resends_per_minute": 0,
        # Receivers that never answer do not delay the end of a test.
        "shutdown_grace": 1.0,
    }
    return _Arguments(**{**values, **changes})
