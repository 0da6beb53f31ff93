"""Without a driver, the error says what to install."""

from __future__ import annotations

import sys
import time

import pytest

from starlette_webhooks.outbox import Outbox
from starlette_webhooks.outbox.connectors import connect
from starlette_webhooks.outbox.places import place_of_url
from starlette_webhooks.stores.administrations import administration_of
from starlette_webhooks.stores.outboxes import outbox_of
from tests.servers import free_port
from tests.settings import make_settings

SETTINGS = make_settings(database="postgresql://127.0.0.1:1/name")


def uninstall(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Let imports of these modules fail, as if their package was not installed."""
    for name in names:
        monkeypatch.setitem(sys.modules, name, None)


def test_commands_on_postgresql_need_psycopg(monkeypatch: pytest.MonkeyPatch) -> None:
    uninstall(monkeypatch, "starlette_webhooks.stores.postgresql.administration")
    with pytest.raises(ValueError, match=r"Install `psycopg\[binary\]`"):
        administration_of(SETTINGS)


def test_the_outbox_for_svix_on_postgresql_needs_psycopg(monkeypatch: pytest.MonkeyPatch) -> None:
    uninstall(monkeypatch, "starlette_webhooks.stores.postgresql.outbox")
    with pytest.raises(ValueError, match=r"Install `psycopg\[binary\]`"):
        outbox_of(SETTINGS, time.time)


async def test_the_relay_from_a_postgresql_outbox_needs_psycopg(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "postgresql://127.0.0.1:1/name"
    connector = connect(url, place_of_url(url))
    uninstall(monkeypatch, "psycopg")
    with pytest.raises(RuntimeError, match=r"pip install 'psycopg\[binary\]'"):
        await connector.run(("SELECT 1", {}))
    await connector.close()


def test_the_tables_of_an_outbox_need_sqlalchemy(monkeypatch: pytest.MonkeyPatch) -> None:
    outbox = Outbox("sqlite:///host.db")
    uninstall(monkeypatch, "sqlalchemy")
    with pytest.raises(RuntimeError, match="pip install sqlalchemy"):
        outbox.metadata  # noqa: B018


async def test_the_relay_from_a_url_of_mariadb_closes_its_engine() -> None:
    url = f"mysql+pymysql://me@127.0.0.1:{free_port()}/name"
    connector = connect(url, place_of_url(url))
    with pytest.raises(Exception, match="Can't connect"):
        await connector.run(("SELECT 1", {}))
    await connector.close()
    await connector.close()
