"""A reader that was away for longer than events are stored is told of a gap, if and only if it has missed something."""

from __future__ import annotations

from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest
from anyio import to_thread

from starlette_webhooks.client import Gap
from starlette_webhooks.identifiers import mint
from tests import plain
from tests.client.conftest import MakeClient
from tests.hosts import MOUNT
from tests.servers import Server, serving

ZEROS = "msg_" + "0" * 27


@pytest.fixture(scope="module")
def aging(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    """A server whose time can be set forward."""
    with serving(tmp_path_factory.mktemp("aging"), app="tests.serve_aging:app") as running:
        yield running


class Host:
    """A tenant of its own for each test, and what its host does."""

    def __init__(self, server: Server, make_client: MakeClient) -> None:
        self.url = server.url
        self.tenant = mint("tenant_")
        self.client: Any = make_client(server.url + MOUNT, self.tenant, max_delay=0.01)

    async def _post(self, path: str, **options: Any) -> Any:
        post = lambda: plain.post(self.url + path, headers={"X-User": self.tenant}, **options)  # noqa: E731
        return (await to_thread.run_sync(post)).raise_for_status().json()

    async def emit(self) -> str:
        return str((await self._post("/emit", json={}))["id"])

    async def age(self) -> None:
        """Let more time pass than events are stored for."""
        await self._post("/age", params={"days": 31})

    async def erase(self) -> None:
        await self._post("/erase", params={"tenant": self.tenant})

    async def position(self) -> str:
        """Return where a reader is that connects now and has not got an event."""
        async with self.client.stream() as events:
            assert isinstance(events.last_event_id, str)
            return events.last_event_id

    async def read(self, after: str | None = None, **options: Any) -> list[str]:
        """Return what a reader gets that comes back, up to an event that is emitted then. `gap` for a gap."""
        got: list[str] = []
        async with self.client.stream(after=after, **options) as events:
            last = await self.emit()
            with anyio.fail_after(10):
                while last not in got:
                    try:
                        got.append((await anext(events)).id)
                    except Gap:
                        got.append("gap")
        return got[:-1]


@pytest.fixture
async def host(aging: Server, make_client: MakeClient) -> Any:
    host = Host(aging, make_client)
    async with host.client:
        yield host


async def test_events_that_came_and_went_after_the_start_on_an_empty_log_are_a_gap(host: Host) -> None:
    start = await host.position()
    await host.emit()
    await host.age()
    kept = await host.emit()
    assert await host.read(start) == ["gap", kept]


async def test_time_without_events_is_no_gap(host: Host) -> None:
    start = await host.position()
    await host.age()
    assert await host.read(start) == []


async def test_a_reader_that_has_the_last_event_gets_no_gap_when_that_becomes_too_old(host: Host) -> None:
    first, last = await host.emit(), await host.emit()
    await host.age()
    assert await host.position() == last
    kept = await host.emit()
    assert await host.read(last) == [kept]
    assert (await host.read(first))[:2] == ["gap", kept]


async def test_a_position_that_an_earlier_client_saved_never_hides_a_gap(host: Host) -> None:
    kept = await host.emit()
    assert await host.read(ZEROS) == ["gap", kept]


async def test_a_time_to_start_from_is_a_gap_if_later_events_were_removed(host: Host) -> None:
    before = datetime.now(UTC) - timedelta(seconds=10)
    await host.emit()
    assert len(await host.read(since=datetime(1970, 1, 1, tzinfo=UTC))) == 1
    await host.age()
    kept = await host.emit()
    assert await host.read(since=before) == ["gap", kept]
    assert (await host.read(since=(await host.client.get(kept)).timestamp))[0] == kept


async def test_what_was_erased_is_a_gap_once(host: Host) -> None:
    start = await host.position()
    await host.emit()
    await host.erase()
    erased = await host.position()
    assert await host.read(start) == ["gap"]
    assert "gap" not in await host.read(erased)
