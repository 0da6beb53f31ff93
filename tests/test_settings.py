"""Settings: from the environment, explicit ones first, wrong ones by the name of their variable."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from starlette_webhooks import Webhooks
from starlette_webhooks.settings import WebhooksSettings, load_settings


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEBHOOKS_DATABASE", "/data/hooks.db")
    monkeypatch.setenv("WEBHOOKS_RETRY_SCHEDULE", "0, 5,300")
    monkeypatch.setenv("WEBHOOKS_ALLOW_NETWORKS", "127.0.0.0/8,::1/128")
    monkeypatch.setenv("SVIX_API_KEY", "testsk_x.eu")
    monkeypatch.setenv("SVIX_SERVER_URL", "http://localhost:8071")
    settings = load_settings()
    assert settings.database == "/data/hooks.db"
    assert settings.retry_schedule == (0, 5, 300)
    assert settings.allow_networks == (ip_network("127.0.0.0/8"), ip_network("::1/128"))
    assert settings.svix_api_key is not None
    assert settings.svix_api_key.get_secret_value() == "testsk_x.eu"
    assert settings.svix_server_url == "http://localhost:8071"
    assert "testsk" not in repr(settings)


def test_explicit_settings_win_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEBHOOKS_HEARTBEAT", "9")
    assert WebhooksSettings(heartbeat=3).heartbeat == 3
    assert Webhooks(settings=WebhooksSettings(heartbeat=3)).settings.heartbeat == 3
    assert Webhooks().settings.heartbeat == 9


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("WEBHOOKS_HEARTBEAT", "soon"),
        ("WEBHOOKS_HEARTBEAT", "0"),
        ("WEBHOOKS_RETRY_SCHEDULE", "0,x"),
        ("WEBHOOKS_RETRY_SCHEDULE", ""),
        ("WEBHOOKS_RETRY_SCHEDULE", "-1"),
        ("WEBHOOKS_ALLOW_NETWORKS", "10.0.0.1/8"),
        ("WEBHOOKS_CONCURRENCY", "0"),
        ("WEBHOOKS_SIGNATURE_HEADERS", "hub"),
        ("WEBHOOKS_DATABASE", ""),
    ],
)
def test_a_wrong_value_fails_at_start_and_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ValueError, match=variable):
        Webhooks()


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(ValueError, match="heartbeats"):
        WebhooksSettings(heartbeats=2)  # type: ignore[call-arg]
