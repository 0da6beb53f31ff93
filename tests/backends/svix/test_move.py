"""From the SQLite backend to Svix: endpoints keep their secrets, and nothing that is pending is lost."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from starlette_webhooks.backends.sqlite import SQLiteBackend
from starlette_webhooks.backends.svix.move import copy_endpoints, read_endpoints
from starlette_webhooks.endpoints import EndpointChanges
from starlette_webhooks.payloads import new_event
from starlette_webhooks.settings import WebhooksSettings
from tests.backends.svix.fake_server import TOKEN, FakeSvix
from tests.backends.svix.support import TYPES, make, running
from tests.servers import ROOT
from tests.settings import make_settings


async def test_endpoints_are_copied_once_with_their_secrets_and_pending_deliveries_stay(
    fake: FakeSvix, svix_settings: WebhooksSettings
) -> None:
    embedded = SQLiteBackend(svix_settings.model_copy(update={"deliver": False}))
    async with embedded.lifespan(TYPES):
        first = await embedded.create_endpoint(
            "a", EndpointChanges(url="http://127.0.0.1:1/a", event_types=("invoice.paid",), headers={"X-Key": "1"})
        )
        secret = await embedded.get_secret("a", first.id)
        await embedded.create_endpoint("b", EndpointChanges(url="http://127.0.0.1:1/b"))
        await embedded.submit([new_event("invoice.paid", {}, tenant="a")]).wait()
    found = read_endpoints(svix_settings.database)
    async with running(svix_settings) as backend:
        await backend.sync(TYPES)
        assert await copy_endpoints(found, backend) == 2
        assert await copy_endpoints(found, backend) == 0
        (copied,) = (await backend.list_endpoints("a", limit=10, cursor=None)).items
        assert (copied.url, copied.event_types, dict(copied.headers)) == (
            "http://127.0.0.1:1/a",
            ("invoice.paid",),
            {"X-Key": "1"},
        )
        assert await backend.get_secret("a", copied.id) == secret
        await backend.send([make("a", 1)])
    with closing(sqlite3.connect(svix_settings.database)) as connection:
        assert connection.execute("SELECT count(*) FROM delivery").fetchone() == (1,)


async def test_the_command_copies_what_the_file_holds(fake: FakeSvix, svix_settings: WebhooksSettings) -> None:
    embedded = SQLiteBackend(svix_settings.model_copy(update={"deliver": False}))
    async with embedded.lifespan(TYPES):
        await embedded.create_endpoint(
            "a", EndpointChanges(url="http://127.0.0.1:1/a", event_types=("user.created",), disabled=True)
        )
    fake.event_types["user.created"] = user_created()
    result = subprocess.run(  # noqa: ASYNC221
        [sys.executable, "-m", "starlette_webhooks.backends.svix.move", svix_settings.database],
        env={**os.environ, "SVIX_API_KEY": TOKEN, "SVIX_SERVER_URL": fake.url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "1 endpoints created at Svix, 0 were there already.\n"
    (endpoint,) = fake.application("a").endpoints.values()
    assert endpoint["disabled"]
    assert fake.event_types["user.created"] == user_created()


def test_the_command_says_which_file_cannot_be_read(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "starlette_webhooks.backends.svix.move", str(tmp_path / "absent.db")],
        env={**os.environ, "SVIX_API_KEY": TOKEN},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert result.stderr.startswith(f"The file '{tmp_path}/absent.db' cannot be read")
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"), [([], "usage: python -m"), (["webhooks.db"], "Set `SVIX_API_KEY`")], ids=["usage", "key"]
)
async def test_the_command_says_what_it_needs(tmp_path: Path, arguments: list[str], said: str) -> None:
    async with SQLiteBackend(make_settings(tmp_path)).lifespan(TYPES):
        pass
    result = subprocess.run(  # noqa: ASYNC221
        [sys.executable, "-m", "starlette_webhooks.backends.svix.move", *arguments],
        env={**os.environ, "SVIX_API_KEY": "", "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def user_created() -> dict[str, object]:
    return {
        "name": "user.created",
        "description": "by hand",
        "archived": False,
        "deprecated": False,
        "schemas": None,
        "createdAt": "2026-01-01T00:00:00Z",
        "updatedAt": "2026-01-01T00:00:00Z",
    }
