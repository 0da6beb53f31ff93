"""The callback for operational events, and what the operator's tenant sees of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import pytest
from starlette.testclient import TestClient

from starlette_webhooks import Event, EventType, Webhooks
from starlette_webhooks.backends.memory import MemoryBackend
from starlette_webhooks.backends.sqlite import SQLiteBackend
from starlette_webhooks.exceptions import InvalidBody
from starlette_webhooks.operational_events import OPERATIONAL_TYPES, operational_event
from starlette_webhooks.operational_reader import OperationalReader
from starlette_webhooks.payloads import new_event
from starlette_webhooks.stores.sqlite.store import SQLiteStore
from tests.eventually import eventually
from tests.forking import in_child
from tests.hosts import MOUNT, bearer, make_app, make_webhooks
from tests.receivers import receiving
from tests.settings import make_settings

OPERATOR = "globex"
URL = "http://127.0.0.1:9/hook"


class Notes:
    """A callback that keeps the ids of events, and fails for some."""

    def __init__(self, failures: int = 0) -> None:
        self.ids: list[str] = []
        self.failures = failures

    async def __call__(self, event: Event) -> None:
        self.ids.append(event.id)
        if self.failures:
            self.failures -= 1
            raise RuntimeError("The pager does not answer.")


def reader(store: SQLiteStore, callback: Any, **options: Any) -> OperationalReader:
    quick = {"lease": 60.0, "poll": 0.005, "pause": 0.005}
    return OperationalReader(store, OPERATOR, callback, **{**quick, **options})


async def tell(store: SQLiteStore, count: int = 1) -> list[str]:
    events = [operational_event("endpoint.created", {"tenant": "acme"}, operator=OPERATOR) for _ in range(count)]
    return [event.id for event in await store.submit(events).wait()]


async def test_the_callback_gets_each_event_in_order_and_another_process_continues(tmp_path: Path) -> None:
    path = str(tmp_path / "webhooks.db")
    first, second = Notes(), Notes()
    store, other = SQLiteStore(path), SQLiteStore(path)
    async with store.lifespan():
        told = await tell(store, 3)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reader(store, first).run)
            await eventually(lambda: len(first.ids) == 3)
            async with other.lifespan():
                tasks.start_soon(reader(other, second).run)
                told += await tell(store, 2)
                await eventually(lambda: len(first.ids) == 5)
                tasks.cancel_scope.cancel()
        assert (first.ids, second.ids) == (told, []), "one process at a time"
        more = await tell(store, 2)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reader(store, second).run)
            await eventually(lambda: len(second.ids) == 2)
            tasks.cancel_scope.cancel()
        assert second.ids == more


async def test_a_crash_repeats_one_event_and_skips_none() -> None:
    store, later = SQLiteStore(":memory:"), Notes()
    seen: list[str] = []
    stuck = anyio.Event()

    async def crashing(event: Event) -> None:
        seen.append(event.id)
        if len(seen) == 2:
            stuck.set()
            await anyio.sleep_forever()

    async with store.lifespan():
        told = await tell(store, 3)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reader(store, crashing).run)
            await stuck.wait()
            tasks.cancel_scope.cancel()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reader(store, later).run)
            await eventually(lambda: len(later.ids) == 2)
            tasks.cancel_scope.cancel()
    assert (seen, later.ids) == (told[:2], told[1:])


async def test_a_process_that_was_killed_is_replaced_after_its_lease() -> None:
    store, notes = SQLiteStore(":memory:"), Notes()
    async with store.lifespan():
        told = await tell(store, 2)
        first = (await store.read_committed(OPERATOR, 0, 1))[0].position
        left = {"position": first, "holder": "killed", "until": store.now() + 100}
        await store.write_meta("operational_reader", json.dumps(left).encode())
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reader(store, notes, lease=0.1).run)
            await eventually(lambda: notes.ids == told[1:])
            tasks.cancel_scope.cancel()


async def test_a_callback_that_fails_is_called_again_with_the_same_event(caplog: pytest.LogCaptureFixture) -> None:
    store, notes = SQLiteStore(":memory:"), Notes(failures=2)
    async with store.lifespan():
        told = await tell(store, 2)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reader(store, notes).run)
            await eventually(lambda: len(notes.ids) == 4)
            tasks.cancel_scope.cancel()
    assert notes.ids == [told[0], told[0], told[0], told[1]]
    assert "The callback for operational events failed" in caplog.text


class HangingStore(SQLiteStore):
    """A store whose swaps never end, once it hangs."""

    hangs = False

    async def swap_meta(self, name: str, old: bytes, new: bytes) -> bool:
        if self.hangs:
            await anyio.sleep_forever()
        return await super().swap_meta(name, old, new)


async def test_a_database_that_hangs_does_not_hold_up_the_end() -> None:
    store, called = HangingStore(":memory:"), anyio.Event()

    async def slow(event: Event) -> None:
        called.set()
        await anyio.sleep_forever()

    async with store.lifespan():
        await tell(store)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reader(store, slow, patience=0.01).run)
            await called.wait()
            store.hangs = True
            tasks.cancel_scope.cancel()


def test_each_worker_of_a_preloaded_app_has_a_name_of_its_own_for_the_lease(tmp_path: Path) -> None:
    store, notes = SQLiteStore(str(tmp_path / "webhooks.db")), Notes()
    # As a server that preloads an app, it is created before the fork.
    preloaded = reader(store, notes)

    async def holder() -> str:
        async with store.lifespan(), anyio.create_task_group() as tasks:
            count = len(notes.ids) + len(await tell(store))
            tasks.start_soon(preloaded.run)
            await eventually(lambda: len(notes.ids) == count)
            found: str = json.loads((await store.find_meta(["operational_reader"]))["operational_reader"])["holder"]
            tasks.cancel_scope.cancel()
        return found

    here = anyio.run(holder)
    assert anyio.run(holder) == here
    assert in_child(lambda: int(anyio.run(holder) == here)) == 0


async def test_a_call_that_takes_long_keeps_the_lease() -> None:
    store = SQLiteStore(":memory:")
    called = anyio.Event()

    async def slow(event: Event) -> None:
        called.set()
        await anyio.sleep_forever()

    async def ends() -> int:
        found: int = json.loads((await store.find_meta(["operational_reader"]))["operational_reader"])["until"]
        return found

    async with store.lifespan():
        await tell(store)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reader(store, slow, lease=0.3).run)
            await called.wait()
            first = await ends()

            async def is_renewed() -> bool:
                return await ends() > first

            await eventually(is_renewed)
            tasks.cancel_scope.cancel()


async def test_a_host_is_called_with_what_happens_to_customers(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, operator_tenant=OPERATOR, retry_schedule="0")
    seen: list[Event] = []

    async def note(event: Event) -> None:
        seen.append(event)

    webhooks = Webhooks(
        event_types=[EventType("a.b")], settings=settings, backend=SQLiteBackend(settings), operational=note
    )
    with receiving() as receiver, receiving() as pager:
        receiver.status = 500
        async with webhooks.lifespan():
            await webhooks.endpoints(OPERATOR).create(pager.url, event_types=["message.attempt.exhausted"])
            endpoint = await webhooks.endpoints("acme").create(receiver.url)
            event = await webhooks.emitter("acme").send("a.b", {})
            await eventually(lambda: len(seen) == 2)
            await eventually(lambda: pager.ids() == [seen[1].id])
    assert [one.type for one in seen] == ["endpoint.created", "message.attempt.exhausted"]
    assert seen[1].data["eventId"] == event.id
    assert seen[1].data["endpointId"] == endpoint.id


def test_without_a_tenant_a_callback_is_refused(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    with pytest.raises(ValueError, match="Set `WEBHOOKS_OPERATOR_TENANT` too"):
        Webhooks(settings=settings, operational=Notes())


def test_on_svix_a_callback_is_refused(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, svix_api_key="key", operator_tenant=OPERATOR)
    with pytest.raises(ValueError, match="Use the operational webhooks of Svix"):
        Webhooks(settings=settings, operational=Notes())


def make_host(**changes: Any) -> Webhooks:
    settings = make_settings(**changes)
    return Webhooks(event_types=[EventType("a.b")], settings=settings, backend=MemoryBackend(settings))


async def test_only_the_operators_tenant_has_the_types_in_its_catalog() -> None:
    webhooks = make_host(operator_tenant=OPERATOR)
    async with webhooks.lifespan():
        made = await webhooks.endpoints(OPERATOR).create(URL, event_types=[one.name for one in OPERATIONAL_TYPES])
        assert made.event_types == tuple(one.name for one in OPERATIONAL_TYPES)
        for tenant in ("acme", "operations"):
            with pytest.raises(InvalidBody, match="There is no event type"):
                await webhooks.endpoints(tenant).create(URL, event_types=["message.attempt.failing"])


def test_the_operators_calls_know_the_types() -> None:
    webhooks = make_webhooks(make_settings(operator_tenant=OPERATOR, deliver=False))
    with TestClient(make_app(webhooks)) as client:

        def types(key: str) -> set[str]:
            answer = client.get(f"{MOUNT}/event-types", headers=bearer(key)).json()
            return {one["name"] for one in answer["eventTypes"]}

        assert types(OPERATOR) - types("acme") == {one.name for one in OPERATIONAL_TYPES} - {"endpoint.disabled"}
        query = {"event_type": "message.attempt.failing"}
        answers = [client.get(f"{MOUNT}/events", params=query, headers=bearer(key)) for key in (OPERATOR, "acme")]
        assert [one.status_code for one in answers] == [200, 400]
        test = client.post(f"{MOUNT}/test", json={"eventType": "endpoint.failing"}, headers=bearer("acme"))
        assert (test.status_code, test.json()["code"]) == (422, "reserved_type")


async def test_what_is_handled_after_another_process_took_over_is_repeated_by_that_one() -> None:
    store = SQLiteStore(":memory:")
    seen: list[str] = []

    async def suspended(event: Event) -> None:
        seen.append(event.id)
        if len(seen) == 2:
            # As another process does it that believes this one to be dead, and that then dies itself.
            position = (await store.read_committed(OPERATOR, 0, 1))[0].position
            taken = {"position": position, "holder": "another", "until": store.now() + 300}
            await store.write_meta("operational_reader", json.dumps(taken).encode())

    async with store.lifespan():
        told = await tell(store, 3)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reader(store, suspended, lease=0.6).run)
            await eventually(lambda: len(seen) == 4)
            tasks.cancel_scope.cancel()
    assert seen == [told[0], told[1], told[1], told[2]]


async def test_a_lease_that_another_process_takes_at_the_same_moment_is_left_to_it() -> None:
    first, second = Notes(), Notes()
    store = SQLiteStore(":memory:")
    async with store.lifespan():
        told = await tell(store, 5)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reader(store, first).run)
            tasks.start_soon(reader(store, second).run)
            await eventually(lambda: sorted(first.ids + second.ids) == sorted(told))
            tasks.cancel_scope.cancel()
        assert [] in (first.ids, second.ids)


async def test_other_events_of_the_operators_tenant_are_passed_over() -> None:
    store, notes, later = SQLiteStore(":memory:"), Notes(), Notes()
    async with store.lifespan():
        others = [new_event("invoice.paid", {}, tenant=OPERATOR) for _ in range(150)]
        await store.submit(others).wait()
        told = await tell(store)
        newest = (await store.submit([new_event("invoice.paid", {}, tenant=OPERATOR)]).wait())[0]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reader(store, notes).run)

            async def passed() -> bool:
                stored = await store.find_meta(["operational_reader"])
                value = json.loads(stored.get("operational_reader", b"{}"))
                entries = await store.read_committed(OPERATOR, value.get("position", 0), 10)
                return not entries

            await eventually(passed)
            tasks.cancel_scope.cancel()
        assert newest.id not in notes.ids
        assert notes.ids == told
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reader(store, later).run)
            more = await tell(store)
            await eventually(lambda: later.ids == more)
            tasks.cancel_scope.cancel()
