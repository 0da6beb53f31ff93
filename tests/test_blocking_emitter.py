"""Emitting from workers without an event loop."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import anyio
import pytest

from starlette_webhooks import EventType, Webhooks
from starlette_webhooks.events import EventQuery
from starlette_webhooks.exceptions import NotRunning, UnknownEventType
from tests.settings import make_settings


@pytest.fixture
def anyio_backend() -> str:
    """It runs an event loop of its own."""
    return "asyncio"


@pytest.fixture
def webhooks(tmp_path: Path) -> Webhooks:
    """The object that a worker shares with the app."""
    return Webhooks(event_types=[EventType("a.b")], settings=make_settings(tmp_path, deliver=False))


def stored(webhooks: Webhooks, tenant: str = "acme") -> list[str]:
    """The ids of what is stored."""

    async def read() -> list[str]:
        async with webhooks.lifespan():
            return [one.id for one in (await webhooks.backend.list_events(tenant, EventQuery())).items]

    return anyio.run(read)


def test_a_worker_emits_and_waits_without_an_event_loop(webhooks: Webhooks) -> None:
    with webhooks.blocking() as emitter:
        first = emitter.send("a.b", {"n": 1}, tenant="acme", event_id="one")
        assert emitter.send("a.b", {"n": 2}, tenant="acme", event_id="one").id == first.id
        with pytest.raises(UnknownEventType):
            emitter.send("c.d", {}, tenant="acme")
    assert stored(webhooks) == [first.id]
    # A worker that is restarted within its process.
    with webhooks.blocking("acme") as emitter:
        assert len(emitter.send_many([("a.b", {"n": n}) for n in range(2)])) == 2
    assert len(stored(webhooks)) == 3


def test_any_thread_of_the_worker_may_emit(webhooks: Webhooks) -> None:
    with webhooks.blocking("acme") as emitter:
        threads = [threading.Thread(target=emitter.send, args=("a.b", {"n": n})) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(stored(webhooks)) == 4


def test_outside_the_block_and_twice_it_says_what_to_do(webhooks: Webhooks) -> None:
    emitter = webhooks.blocking("acme")
    with pytest.raises(NotRunning, match="Enter it once per process"):
        emitter.send("a.b", {})
    with emitter, pytest.raises(RuntimeError, match="already entered"):
        emitter.__enter__()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork.")
def test_a_forked_worker_enters_one_of_its_own(webhooks: Webhooks) -> None:
    with webhooks.blocking("acme") as emitter:
        emitter.send("a.b", {"n": 0})
        child = os.fork()
        if not child:
            status = 1
            try:
                with pytest.raises(NotRunning):
                    emitter.send("a.b", {})
                with webhooks.blocking("acme") as own:
                    own.send("a.b", {"n": 1})
                status = 0
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        emitter.send("a.b", {"n": 2})
    assert len(stored(webhooks)) == 3
