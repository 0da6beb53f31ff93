"""Where deliveries may go, as the settings of a backend say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from starlette_webhooks.backends.sqlite import SQLiteBackend
from starlette_webhooks.event_types import EventTypes
from starlette_webhooks.exceptions import InvalidBody
from tests.backends.contract.support import Ear, attempted, attempts, create, send
from tests.eventually import eventually
from tests.settings import make_settings
from tests.wire import listening


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        ({"deny_networks": "127.0.0.0/8"}, "http://127.0.0.1/"),
        ({"deny_networks": "93.184.215.0/24"}, "https://93.184.215.14/"),
        ({"ports": "443"}, "https://93.184.215.14:8443/"),
        ({"nat64_networks": "2a00:1::/96"}, "https://[2a00:1::10.0.0.1]/"),
        ({"allow_http": False}, "http://93.184.215.14/"),
        ({"allow_networks": ""}, "http://localhost/"),
    ],
)
async def test_what_the_settings_forbid_is_refused_when_an_endpoint_is_saved(
    tmp_path: Path, settings: dict[str, Any], url: str
) -> None:
    backend = SQLiteBackend(make_settings(tmp_path, **settings))
    backend.listen(Ear())
    async with backend.lifespan(EventTypes()):
        with pytest.raises(InvalidBody) as refused:
            await create(backend, url=url)
        assert refused.value.code == "invalid_url"
        await create(backend, url="https://93.184.216.34/")


async def test_deliveries_of_a_backend_go_through_the_proxy(proxy: str, tmp_path: Path) -> None:
    through = f"http://user:p%40ss%3Aword@{proxy}"
    backend = SQLiteBackend(make_settings(tmp_path, proxy=through))
    backend.listen(Ear())
    async with listening() as seen, backend.lifespan(EventTypes()):
        await create(backend, url=seen.url("localhost"))
        await send(backend)
        (attempt,) = await attempted(backend, 1)
        assert (attempt.status, len(seen.requests)) == ("success", 1)


async def test_without_the_right_credentials_an_event_waits_and_no_attempt_counts(
    proxy: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    backend = SQLiteBackend(make_settings(tmp_path, proxy=f"http://user:wrong@{proxy}"))
    backend.listen(Ear())
    async with listening() as seen, backend.lifespan(EventTypes()):
        await create(backend, url=seen.url("localhost"))
        await send(backend)
        await eventually(lambda: "user name and password" in caplog.text)
        assert seen.requests == []
        assert await attempts(backend) == []
    assert "wrong" not in caplog.text
