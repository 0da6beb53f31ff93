"""Name lookups: a tenant whose DNS server never answers occupies at most its share of the threads."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from typing import Any

import anyio
import pytest

from starlette_webhooks.delivery.lookups import Lookups
from tests.eventually import eventually
from tests.scarcity import no_free_threads


class Resolver:
    """Answers immediately, but for `silent` hosts only once it is told to."""

    def __init__(self) -> None:
        self.answer = threading.Event()
        self.threads = 0

    def search(self, host: bytes, port: int, **_: object) -> list[Any]:
        self.threads += 1
        if host.startswith(b"silent"):
            self.answer.wait(30)
        if host.startswith(b"unknown"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("203.0.113.7", port))]


@pytest.fixture
def resolver() -> Iterator[Resolver]:
    resolver = Resolver()
    yield resolver
    resolver.answer.set()


async def impatiently(lookups: Lookups, tenant: str) -> None:
    with anyio.move_on_after(0.05):
        await lookups.find("silent.example", 443, tenant=tenant)


async def test_a_name_is_looked_up(resolver: Resolver) -> None:
    lookups = Lookups(search=resolver.search)
    assert await lookups.find("a.example", 443, tenant="acme") == ["203.0.113.7"]
    with pytest.raises(OSError, match="not known"):
        await lookups.find("unknown.example", 443, tenant="acme")
    await eventually(lambda: lookups.running == 0)


async def test_callers_who_give_up_start_no_more_threads_than_their_tenants_share(resolver: Resolver) -> None:
    lookups = Lookups(at_once=8, search=resolver.search)
    for _ in range(3):
        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(impatiently, lookups, "acme")
    assert resolver.threads == lookups.running == 3
    assert await lookups.find("a.example", 443, tenant="globex") == ["203.0.113.7"]
    resolver.answer.set()
    await eventually(lambda: lookups.running == 0)
    assert await lookups.find("silent.example", 443, tenant="acme") == ["203.0.113.7"]


async def test_a_lookup_that_is_cancelled_before_it_begins_frees_its_share(resolver: Resolver) -> None:
    lookups = Lookups(at_once=2, search=resolver.search)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await lookups.find("a.example", 443, tenant="acme")
    await eventually(lambda: lookups.running == 0)


async def test_without_a_free_thread_the_share_is_free_again(resolver: Resolver) -> None:
    lookups = Lookups(search=resolver.search)
    refused: list[str] = []

    async def find() -> None:
        try:
            await lookups.find("silent.example", 443, tenant="acme")
        except RuntimeError as exc:
            refused.append(str(exc))

    async with anyio.create_task_group() as tasks:
        with no_free_threads():
            # More at a time than there may be idle threads.
            for _ in range(40):
                tasks.start_soon(find)
            await anyio.wait_all_tasks_blocked()
        assert set(refused) == {"can't start new thread"}
        assert lookups.running == 40 - len(refused)
        resolver.answer.set()
    await eventually(lambda: lookups.running == 0)


async def test_many_tenants_with_silent_servers_leave_threads_for_others(resolver: Resolver) -> None:
    lookups = Lookups(at_once=32, search=resolver.search)
    async with anyio.create_task_group() as tasks:
        for tenant in range(12):
            for _ in range(32):
                tasks.start_soon(impatiently, lookups, f"mallory-{tenant}")
    assert lookups.running < 32
    with anyio.fail_after(5):
        assert await lookups.find("a.example", 443, tenant="globex") == ["203.0.113.7"]
