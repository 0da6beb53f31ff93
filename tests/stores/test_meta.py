"""Values that all processes share, on every store."""

from __future__ import annotations

import time

from starlette_webhooks.stores.outboxes import outbox_of
from tests.settings import make_settings
from tests.stores.contract import MakeStore


async def test_only_one_of_several_callers_stores_its_own_value(make_shared_store: MakeStore) -> None:
    one, other = make_shared_store(), make_shared_store()
    async with one.lifespan(), other.lifespan():
        assert await one.read_meta("key", b"mine") == b"mine"
        assert await other.read_meta("key", b"other") == b"mine"


async def test_values_are_found_replaced_and_dropped_by_name(make_store: MakeStore) -> None:
    store = make_store()
    async with store.lifespan():
        for name in ("a:1", "a:2", "b"):
            await store.write_meta(name, name.encode())
        await store.write_meta("b", b"new \x00 value")
        assert await store.find_meta(["a:1", "b", "missing"]) == {"a:1": b"a:1", "b": b"new \x00 value"}
        await store.drop_meta("a:", "a:2")
        assert set(await store.find_meta(["a:1", "a:2", "b"])) == {"a:2", "b"}
        assert await store.find_meta([]) == {}


async def test_an_outbox_keeps_values_too() -> None:
    outbox = outbox_of(make_settings(), time.time)
    async with outbox.lifespan(lambda fresh: None):
        await outbox.write_meta("a", b"1")
        assert await outbox.find_meta(["a", "b"]) == {"a": b"1"}
        await outbox.drop_meta("a", "b")
        assert await outbox.find_meta(["a"]) == {}
