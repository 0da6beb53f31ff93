"""Settings: from the environment or arguments, and errors that name the variable."""

from __future__ import annotations

import subprocess
import sys
from ipaddress import ip_network
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from starlette_webhooks import Webhooks
from starlette_webhooks.backends.sqlite import SQLiteBackend
from starlette_webhooks.database_url import parse_database
from starlette_webhooks.environment import load_settings, variable_of
from starlette_webhooks.settings import WebhooksSettings


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEBHOOKS_DATABASE", "/data/hooks.db")
    monkeypatch.setenv("WEBHOOKS_RETRY_SCHEDULE", "0, 5,300")
    monkeypatch.setenv("WEBHOOKS_ALLOW_NETWORKS", "127.0.0.0/8,::1/128")
    monkeypatch.setenv("WEBHOOKS_PORTS", "443, 8443")
    monkeypatch.setenv("WEBHOOKS_NAT64_NETWORKS", "2001:db8:64::/96")
    monkeypatch.setenv("WEBHOOKS_PROXY", "http://user:hunter2@proxy.internal:3128")
    monkeypatch.setenv("SVIX_API_KEY", "testsk_x.eu")
    monkeypatch.setenv("SVIX_SERVER_URL", "http://localhost:8071")
    settings = load_settings()
    assert settings.database == "/data/hooks.db"
    assert settings.retry_schedule == (0, 5, 300)
    assert settings.allow_networks == (ip_network("127.0.0.0/8"), ip_network("::1/128"))
    assert settings.svix_api_key is not None
    assert settings.svix_api_key.get_secret_value() == "testsk_x.eu"
    assert settings.svix_server_url == "http://localhost:8071"
    assert (settings.ports, settings.nat64_networks) == ((443, 8443), (ip_network("2001:db8:64::/96"),))
    assert settings.proxy_url is not None
    assert settings.proxy_url.host == "proxy.internal"
    assert "testsk" not in repr(settings)
    assert "hunter2" not in repr(settings) + repr(settings.proxy_url)


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
        ("WEBHOOKS_RETRY_SCHEDULE", ","),
        ("WEBHOOKS_RETRY_SCHEDULE", "-1"),
        ("WEBHOOKS_RETRY_SCHEDULE", "0,nan"),
        ("WEBHOOKS_RETRY_SCHEDULE", "0,inf"),
        ("WEBHOOKS_ALLOW_NETWORKS", "10.0.0.1/8"),
        ("WEBHOOKS_DENY_NETWORKS", "example.com"),
        ("WEBHOOKS_NAT64_NETWORKS", "2001:db8::/97"),
        ("WEBHOOKS_NAT64_NETWORKS", "10.0.0.0/8"),
        ("WEBHOOKS_PORTS", "443,0"),
        ("WEBHOOKS_PORTS", "https"),
        ("WEBHOOKS_PROXY", "proxy.example.com"),
        ("WEBHOOKS_CA_FILE", "/nowhere/authorities.pem"),
        ("WEBHOOKS_ENCRYPTION_KEY", "short"),
        ("WEBHOOKS_SIGNING_KEY", "whsk_short"),
        ("WEBHOOKS_CONCURRENCY", "0"),
        ("WEBHOOKS_SIGNATURE_HEADERS", "hub"),
        ("WEBHOOKS_DATABASE", "mysql://host/name"),
        ("WEBHOOKS_DATABASE", "sqlite://webhooks.db"),
        ("WEBHOOKS_DATABASE", "sqlite:///"),
        ("WEBHOOKS_DATABASE", "sqlite:///webhooks.db?mode=ro"),
        ("WEBHOOKS_SECRET_KEY", "x" * 31),
        ("WEBHOOKS_SECRET_KEY", "x" * 32 + ","),
        ("WEBHOOKS_SECRET_KEY", "x" * 32 + ", " + "y" * 31),
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


def numbers() -> list[tuple[str, FieldInfo]]:
    """Yield the settings that are a number, or several."""
    return [
        (name, field)
        for name, field in WebhooksSettings.model_fields.items()
        if {float, int} & {field.annotation, *get_args(field.annotation)}
    ]


@pytest.mark.parametrize(("name", "field"), numbers())
@pytest.mark.parametrize("value", ["inf", "-inf", "nan", "1e300"])
def test_no_number_is_infinite_nan_or_too_large_to_be_stored(
    monkeypatch: pytest.MonkeyPatch, name: str, field: FieldInfo, value: str
) -> None:
    monkeypatch.setenv(variable_of(name), value)
    with pytest.raises(ValueError, match=variable_of(name)):
        load_settings()


@pytest.mark.parametrize("name", list(WebhooksSettings.model_fields))
def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    unset = load_settings()
    monkeypatch.setenv(variable_of(name), "")
    assert load_settings() == unset


def test_an_empty_secret_in_code_is_refused() -> None:
    for name in ("secret_key", "svix_api_key"):
        with pytest.raises(ValueError, match=name):
            WebhooksSettings(**{name: SecretStr("")})  # type: ignore[arg-type]


def test_several_secret_keys_are_separated_by_commas_the_first_one_first(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().secret_keys == ()
    monkeypatch.setenv("WEBHOOKS_SECRET_KEY", f"{'n' * 32}, {'o' * 40}")
    assert load_settings().secret_keys == (b"n" * 32, b"o" * 40)


def test_no_secret_is_in_a_message_or_a_repr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEBHOOKS_DATABASE", "postgresql://hooks:hunter2@db/app")
    monkeypatch.setenv("WEBHOOKS_SECRET_KEY", "hunter2" * 8)
    assert "hunter2" not in repr(load_settings()) + repr(load_settings().database_url)
    monkeypatch.setenv("WEBHOOKS_DATABASE", "mysql://hooks:hunter2@db/app")
    monkeypatch.setenv("WEBHOOKS_SECRET_KEY", "hunter2")
    for load in (load_settings, WebhooksSettings):
        with pytest.raises(ValueError) as caught:
            load()
        assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "dialect", "location"),
    [
        ("webhooks.db", "sqlite", "webhooks.db"),
        ("/data/hooks.db", "sqlite", "/data/hooks.db"),
        (":memory:", "sqlite", ":memory:"),
        ("C:\\data\\hooks.db", "sqlite", "C:\\data\\hooks.db"),
        ("sqlite://", "sqlite", ":memory:"),
        ("sqlite:///:memory:", "sqlite", ":memory:"),
        ("sqlite:///webhooks.db", "sqlite", "webhooks.db"),
        ("sqlite+aiosqlite:////data/hooks.db", "sqlite", "/data/hooks.db"),
        ("postgresql://u:p@db:5432/app?sslmode=require", "postgresql", "postgresql://u:p@db:5432/app?sslmode=require"),
        ("postgres:///app", "postgresql", "postgresql:///app"),
        ("postgresql+asyncpg://db/app", "postgresql", "postgresql://db/app"),
    ],
)
def test_the_database_is_a_path_or_a_url(text: str, dialect: str, location: str) -> None:
    found = parse_database(text)
    assert (found.dialect, found.location) == (dialect, location)
    assert WebhooksSettings(database=text).database_url == found


def test_sqlite_does_not_take_the_url_of_a_postgresql_database() -> None:
    with pytest.raises(ValueError, match="PostgreSQL"):
        SQLiteBackend(WebhooksSettings(database="postgresql://db/app"))


async def test_a_sqlite_url_is_the_same_file_as_its_path(tmp_path: Path, settings: WebhooksSettings) -> None:
    changes: dict[str, Any] = {"database": f"sqlite:///{tmp_path}/by-url.db"}
    async with Webhooks(event_types=["a.b"], settings=settings.model_copy(update=changes)).lifespan():
        assert (tmp_path / "by-url.db").exists()


def test_postgresql_without_its_driver_says_what_to_install() -> None:
    code = """
import sys
sys.modules["psycopg"] = None
from starlette_webhooks import Webhooks, WebhooksSettings
try:
    Webhooks(settings=WebhooksSettings(database="postgresql://db/app"))
except ValueError as error:
    print(error)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "Install `psycopg[binary]`" in run.stdout, run.stderr
