"""Every emitted event is forwarded to Svix once and in order, despite faults of Svix and the machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from starlette_webhooks.backends.svix import SvixBackend
from starlette_webhooks.backends.svix.applications import application_uid
from starlette_webhooks.endpoints import EndpointChanges
from starlette_webhooks.events import EventQuery
from starlette_webhooks.exceptions import QueueFull
from starlette_webhooks.settings import WebhooksSettings
from tests.backends.svix.fake_server import FakeSvix
from tests.backends.svix.fake_store import Message
from tests.backends.svix.support import make, numbers, running, running_fast
from tests.clock import VirtualTime
from tests.eventually import eventually


def stored(fake: FakeSvix, tenant: str) -> list[int]:
    """The numbers of the tenant's messages at the fake, in the order they were stored."""
    return [message.payload["data"]["number"] for message in fake.application(tenant).by_event_id.values()]


def waiting(backend: SvixBackend) -> int:
    """Return how many events waited in the outbox when health last counted them."""
    count: int = backend.health()["outbox"]["waiting"]
    return count


def relaying(backend: SvixBackend) -> bool:
    """Return whether this process relays."""
    return bool(backend.health()["relay"]["here"])


async def test_what_was_submitted_is_listed_by_svix(svix_settings: WebhooksSettings, tenant: str) -> None:
    async with running(svix_settings) as backend:
        event = make(tenant, 7, channels=["eu"])
        (taken,) = await backend.submit([event]).wait()
        assert taken == event
        assert taken.id == ""
        await backend.settle()
        page = await backend.list_events(tenant, EventQuery())
        assert [(found.event_id, found.data, found.channels) for found in page.items] == [
            (event.event_id, event.data, ("eu",))
        ]
        assert page.items[0].id.startswith("msg_")


async def test_events_of_a_tenant_are_forwarded_in_order_and_tenants_side_by_side(
    fake: FakeSvix, svix_settings: WebhooksSettings
) -> None:
    fake.fail("/msg$", method="POST", times=10_000, status=None, delay=0.005)
    async with running(svix_settings) as backend:
        for number in range(30):
            for tenant in ("a", "b", "c", "d"):
                backend.submit([make(tenant, number)])
        await backend.settle()
    for tenant in ("a", "b", "c", "d"):
        assert stored(fake, tenant) == list(range(30))
    assert fake.most_at_once > 1


async def test_a_tenant_for_which_rate_matters_more_than_order_is_forwarded_several_at_a_time(
    fake: FakeSvix, svix_settings: WebhooksSettings
) -> None:
    # Slow until four calls have run together, however long their start takes.
    fake.fail("/msg$", method="POST", times=10_000, status=None, delay=5)
    settings = svix_settings.model_copy(update={"svix_tenant_concurrency": 4})
    async with running(settings) as backend:
        for number in range(60):
            backend.submit([make("a", number)])
        await eventually(lambda: fake.most_at_once == 4)
        fake.heal()
        await backend.settle()
    assert sorted(stored(fake, "a")) == list(range(60))
    assert fake.most_at_once == 4


async def test_no_more_calls_run_at_a_time_than_the_setting_allows(
    fake: FakeSvix, svix_settings: WebhooksSettings
) -> None:
    fake.fail("/msg$", method="POST", times=10_000, status=None, delay=0.1)
    async with running(svix_settings.model_copy(update={"svix_concurrency": 3})) as backend:
        for number in range(24):
            backend.submit([make(f"tenant-{number}")])
        await backend.settle()
    assert fake.most_at_once == 3


async def test_events_from_many_threads_all_arrive(fake: FakeSvix, svix_settings: WebhooksSettings) -> None:
    async with running(svix_settings) as backend:

        def emit(start: int) -> None:
            for number in range(start, start + 50):
                backend.submit([make(f"thread-{start}", number)])

        threads = [threading.Thread(target=emit, args=(start,)) for start in (0, 1000, 2000, 3000)]
        for thread in threads:
            thread.start()
        for thread in threads:
            await anyio.to_thread.run_sync(thread.join)
        await backend.settle()
    for start in (0, 1000, 2000, 3000):
        assert stored(fake, f"thread-{start}") == list(range(start, start + 50))


async def test_an_event_id_is_stored_once_and_returns_the_first_event(
    svix_settings: WebhooksSettings, tenant: str
) -> None:
    async with running(svix_settings) as backend:
        await backend.submit([make(tenant, 1, event_id="order-1")]).wait()
        (waiting,) = await backend.submit([make(tenant, 2, event_id="order-1")]).wait()
        assert numbers([waiting]) == [1]
        await backend.settle()
        (first,) = await backend.submit([make(tenant, 3, event_id="order-1")]).wait()
        assert numbers([first]) == [1]
        assert first.id.startswith("msg_")
        page = await backend.list_events(tenant, EventQuery())
        assert [event.id for event in page.items] == [first.id]


async def test_a_full_queue_refuses_the_event_with_an_error(fake: FakeSvix, svix_settings: WebhooksSettings) -> None:
    async with running(svix_settings.model_copy(update={"queue_events": 5})) as backend:
        with pytest.raises(QueueFull):
            for number in range(10_000):
                backend.submit([make("a", number)])
        await backend.settle()
        kept = stored(fake, "a")
        assert kept == list(range(len(kept)))


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 500},
        {"status": 500, "body": b""},
        {"status": 503, "body": b"<html>Service Unavailable</html>"},
        {"status": 429, "body": b'{"code":"rate_limit","detail":"slow down"}', "headers": {"retry-after": "0"}},
        {"status": 401, "body": b'{"code":"authentication_failed","detail":"Invalid token"}'},
        {"status": 302, "body": b"", "headers": {"location": "http://127.0.0.1:1/"}},
        {"status": 200, "body": b"<html>sign in to the network</html>"},
        {"status": 404, "body": b""},
        {"status": 422, "body": b"<html>no</html>"},
        {"status": 423},
        {"drop": True},
        {"drop": True, "commit": True},
        {"status": 500, "commit": True},
        {"status": 202, "body": b'{"odd": true}', "commit": True},
    ],
    ids=str,
)
async def test_a_failed_call_is_repeated_and_the_event_is_stored_once(
    fake: FakeSvix, svix_settings: WebhooksSettings, fault: dict[str, object]
) -> None:
    fake.fail("/msg$", method="POST", times=2, **fault)  # type: ignore[arg-type]
    async with running_fast(svix_settings) as backend:
        for number in range(3):
            backend.submit([make("a", number)])
        await backend.settle()
        assert await backend.dead_letters() == []
    assert stored(fake, "a") == [0, 1, 2]


async def test_a_slow_response_times_out_and_the_call_is_repeated(
    fake: FakeSvix, svix_settings: WebhooksSettings
) -> None:
    fake.fail("/msg$", method="POST", status=None, delay=3.0, commit=True)
    async with running(svix_settings.model_copy(update={"svix_timeout": 0.2})) as backend:
        backend.submit([make("a", 1)])
        backend.submit([make("b", 2)])
        await backend.settle()
        assert len(fake.messages("a")) == len(fake.messages("b")) == 1


async def test_retry_after_is_waited_for(fake: FakeSvix, svix_settings: WebhooksSettings) -> None:
    fake.fail("/msg$", method="POST", status=429, headers={"retry-after": "20"})
    virtual = VirtualTime()
    async with running_fast(svix_settings, virtual) as backend:
        started = virtual()
        backend.submit([make("a", 1)])
        await backend.settle()
        assert virtual() - started >= 20


@pytest.mark.parametrize("status", [500, 503])
async def test_a_clock_that_is_set_back_makes_no_pause_longer(
    fake: FakeSvix, svix_settings: WebhooksSettings, status: int
) -> None:
    # 503 pauses everything, and 500 only the tenant.
    fake.fail("/msg$", method="POST", times=1, status=status)
    virtual = VirtualTime()
    async with running(svix_settings, clock=virtual) as backend:
        backend.submit([make("a", 1)])
        await eventually(lambda: bool(fake.calls_to("/msg$", "POST")))
        virtual.set_by(-3600)
        await backend.settle()
    assert stored(fake, "a") == [1]


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (422, b'{"detail":[{"loc":["body","payload"],"msg":"bad","type":"value_error"}]}', "validation"),
        (422, b'{"detail":"bad"}', ""),
        (413, b'{"code":"payload_too_large","detail":"bad"}', "payload_too_large"),
        (413, b"<html>bad</html>", ""),
    ],
)
async def test_a_permanently_refused_event_is_dead_lettered_and_others_continue(
    fake: FakeSvix, svix_settings: WebhooksSettings, status: int, body: bytes, code: str
) -> None:
    fake.fail("/msg$", method="POST", status=status, body=body)
    async with running(svix_settings) as backend:
        for number in range(3):
            backend.submit([make("a", number)])
        await backend.settle()
        assert stored(fake, "a") == [1, 2]
        (letter,) = await backend.dead_letters()
        assert letter.event is not None
        assert numbers([letter.event]) == [0]
        assert letter.code == code
        assert "bad" in letter.detail
        await eventually(lambda: backend.health()["outbox"]["deadLettered"] == 1)
        assert await backend.redrive("b") == 0
        assert await backend.redrive("a") == 1
        await backend.settle()
    assert stored(fake, "a") == [1, 2, 0]


async def test_a_tenant_whose_event_makes_svix_crash_does_not_hold_up_the_others(
    fake: FakeSvix, svix_settings: WebhooksSettings
) -> None:
    fake.fail("/app/bad/msg$", times=1_000_000)
    async with running(svix_settings) as backend:
        backend.submit([make("bad", 1)])
        await eventually(lambda: len(fake.calls_to("/app/bad/msg$")) > 1)
        for number in range(20):
            backend.submit([make("good", number)])
        await eventually(lambda: len(fake.calls_to("/app/good/msg$")) == 20, within=2)
        await eventually(lambda: waiting(backend) == 1)
        fake.heal()
        await backend.settle()
    assert stored(fake, "bad") == [1]


async def test_nothing_is_lost_in_an_outage_of_a_day(fake: FakeSvix, svix_settings: WebhooksSettings) -> None:
    virtual = VirtualTime()
    fake.clock = virtual
    fake.go_down()
    options = {"clock": virtual, "sleep": virtual.sleep, "monotonic": virtual.monotonic}
    async with running(svix_settings, relay_poll=3600.0, **options) as backend:
        for hour in range(24):
            for tenant in ("a", "b", "c"):
                await backend.submit([make(tenant, hour)]).wait()
            await virtual.run(3600)
        calls = len(fake.calls)
        # With backoff up to a minute and one call at a time for all tenants: about 1,440 calls with 4 attempts each.
        assert calls < 24 * 60 * 4
        await eventually(lambda: waiting(backend) == 72)
        fake.heal()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(virtual.run, 7200)
            await backend.settle()
            tasks.cancel_scope.cancel()
    for tenant in ("a", "b", "c"):
        assert stored(fake, tenant) == list(range(24))


async def test_what_waits_survives_a_restart(fake: FakeSvix, svix_settings: WebhooksSettings) -> None:
    fake.go_down()
    async with running(svix_settings) as backend:
        for number in range(50):
            backend.submit([make("a", number)])
    fake.heal()
    async with running(svix_settings) as backend:
        await backend.settle()
    assert stored(fake, "a") == list(range(50))


async def test_of_two_on_one_file_one_relays_and_the_other_takes_over(
    fake: FakeSvix, svix_settings: WebhooksSettings
) -> None:
    async with running(svix_settings) as second:
        async with anyio.create_task_group() as tasks:
            async with running(svix_settings) as first:
                await eventually(lambda: relaying(first) or relaying(second))
                holder, other = (first, second) if relaying(first) else (second, first)
                for number in range(20):
                    (holder if number % 2 else other).submit([make("a", number)])
                    await anyio.lowlevel.checkpoint()
                await first.settle()
                assert not relaying(other)
            tasks.cancel_scope.cancel()
        await eventually(lambda: relaying(second), within=1)
        second.submit([make("a", 20)])
        await second.settle()
    assert sorted(stored(fake, "a")) == list(range(21))


CHILD = """
import sys, anyio
from starlette_webhooks.settings import WebhooksSettings
from tests.backends.svix.support import make, running

async def main(database, url, token):
    settings = WebhooksSettings(database=database, svix_server_url=url, svix_api_key=token)
    async with running(settings) as backend:
        for number in range(20):
            await backend.submit([make("a", number)]).wait()
        print("durable", flush=True)
        await anyio.sleep(60)

anyio.run(main, *sys.argv[1:])
"""


def kill_before_the_answer(child: Callable[[], int]) -> Callable[[Message], None]:
    def kill(message: Message) -> None:
        if message.payload["data"]["number"] == 5:
            os.kill(child(), signal.SIGKILL)

    return kill


def kill_after_the_answer(child: Callable[[], int]) -> Callable[[Message], None]:
    def kill(message: Message) -> None:
        if message.payload["data"]["number"] == 5:
            threading.Timer(0.002, os.kill, (child(), signal.SIGKILL)).start()

    return kill


@pytest.mark.parametrize("moment", [kill_before_the_answer, kill_after_the_answer])
async def test_a_relay_killed_before_it_notes_the_response_loses_and_duplicates_nothing(
    fake: FakeSvix,
    svix_settings: WebhooksSettings,
    moment: Callable[[Callable[[], int]], Callable[[Message], None]],
) -> None:
    # All 20 are durable before the first one is forwarded.
    fake.fail("/app$", method="POST", times=1_000, status=503)
    token = svix_settings.svix_api_key
    assert token is not None
    command = [sys.executable, "-c", CHILD, svix_settings.database, fake.url, token.get_secret_value()]
    root = Path(__file__).parents[3]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as child:  # noqa: ASYNC220
        assert child.stdout is not None
        assert await anyio.to_thread.run_sync(child.stdout.readline) == "durable\n"
        fake.on_commit = moment(lambda: child.pid)
        fake.heal()
        await anyio.to_thread.run_sync(child.wait)
        assert child.returncode == -signal.SIGKILL
    fake.on_commit = None
    assert 5 in stored(fake, "a")
    assert len(stored(fake, "a")) < 20
    async with running(svix_settings) as backend:
        await eventually(lambda: relaying(backend), within=1)
        await backend.settle()
    assert stored(fake, "a") == list(range(20))
    assert len(fake.messages("a")) == 20


async def test_a_message_that_svix_stored_but_did_not_queue_is_delivered(
    fake: FakeSvix, svix_settings: WebhooksSettings
) -> None:
    virtual = VirtualTime()
    fake.clock = virtual
    async with running(svix_settings, clock=virtual) as backend:
        wanting = await backend.create_endpoint("a", EndpointChanges(url="https://example.com/1"))
        await backend.create_endpoint("a", EndpointChanges(url="https://example.com/2", event_types=("user.created",)))
        virtual.advance(1)
        fake.queue_fails = True
        event = make("a", 1)
        backend.submit([event])
        await eventually(lambda: "a" in {app.uid for app in fake.applications.values()} and bool(fake.messages("a")))
        fake.queue_fails = False

        async def accepted() -> bool:
            (stored,) = await backend.submit([event]).wait()
            return stored.id != ""

        await eventually(accepted)
        assert fake.application("a").attempts == []
        await backend.resolve_in_doubt()
        assert fake.application("a").attempts == []
        virtual.advance(61)
        await backend.resolve_in_doubt()
        assert [attempt["endpointId"] for attempt in fake.application("a").attempts] == [wanting.id]
        virtual.advance(61)
        await backend.resolve_in_doubt()
        assert len(fake.application("a").attempts) == 1


async def test_an_old_message_with_the_same_event_id_is_not_delivered_again(
    fake: FakeSvix, svix_settings: WebhooksSettings
) -> None:
    virtual = VirtualTime()
    async with running(svix_settings, clock=virtual) as backend:
        await backend.create_endpoint("a", EndpointChanges(url="https://example.com/"))
        application = fake.application("a")
        fake.store(application, "invoice.paid", {"old": True}, event_id="order-1", at=time.time() - 86_400)
        backend.submit([make("a", 1, event_id="order-1")])
        await backend.settle()
        (known,) = await backend.submit([make("a", 2, event_id="order-1")]).wait()
        assert known.id == application.messages[0].id
        virtual.advance(3600)
        await backend.resolve_in_doubt()
    assert application.attempts == []


@pytest.mark.parametrize(
    "tenant",
    ["with space", "..", ".", "a/b?x=1#y", "app_2xYbnVn4gvBVd3z7qjHqSAPrGvi", "t_" + "a" * 52, "ü", "x" * 300, "{app}"],
)
async def test_any_tenant_has_an_application_of_its_own(
    fake: FakeSvix, svix_settings: WebhooksSettings, tenant: str
) -> None:
    async with running(svix_settings) as backend:
        backend.submit([make(tenant, 1)])
        await backend.settle()
        assert numbers((await backend.list_events(tenant, EventQuery())).items) == [1]
    uid = application_uid(tenant)
    assert fake.application(uid).name == tenant[:256]
    assert application_uid(uid) != uid


async def test_two_concurrent_first_calls_create_one_application(
    fake: FakeSvix, svix_settings: WebhooksSettings
) -> None:
    fake.fail("/app$", method="POST", status=409, body=b'{"code":"conflict","detail":"A conflict has occurred"}')
    async with running(svix_settings) as backend:
        await backend.send([make("a", 1)])
    assert stored(fake, "a") == [1]


async def test_an_application_deleted_at_svix_is_created_again(fake: FakeSvix, svix_settings: WebhooksSettings) -> None:
    async with running(svix_settings) as backend:
        await backend.send([make("a", 1)])
        fake.applications.clear()
        backend.submit([make("a", 2)])
        await backend.settle()
    assert stored(fake, "a") == [2]


async def test_old_events_are_deleted_unless_they_wait(fake: FakeSvix, svix_settings: WebhooksSettings) -> None:
    virtual = VirtualTime()
    async with running(svix_settings, clock=virtual) as backend:

        async def remembered(event_id: str) -> bool:
            (event,) = await backend.submit([make("a", 4, event_id=event_id)]).wait()
            return numbers([event]) != [4]

        backend.submit([make("a", 1, event_id="order-1"), make("a", 2)])
        await backend.settle()
        fake.fail("/app/a/msg$", times=1_000_000)
        await backend.submit([make("a", 3, event_id="order-3")]).wait()
        virtual.advance(2 * 86_400)
        await backend.prune()
        assert await remembered("order-1")
        virtual.advance(31 * 86_400)
        await backend.prune()
        assert not await remembered("order-1")
        assert await remembered("order-3")
        fake.heal()


async def test_a_process_that_does_not_deliver_leaves_the_relay_to_others(
    fake: FakeSvix, svix_settings: WebhooksSettings
) -> None:
    async with running(svix_settings.model_copy(update={"deliver": False})) as emitting:
        await emitting.submit([make("a", 1)]).wait()
        await eventually(lambda: waiting(emitting) == 1)
        assert not relaying(emitting)
        assert fake.calls_to("/msg$") == []
        async with running(svix_settings) as other:
            await other.settle()
    assert stored(fake, "a") == [1]


async def test_an_erased_tenant_is_gone_here_and_at_svix(fake: FakeSvix, svix_settings: WebhooksSettings) -> None:
    async with running(svix_settings) as backend:
        await backend.send([make("a", 1, event_id="order-1")])
        await backend.erase("a")
        assert fake.applications == {}
        await backend.erase("a")
        (again,) = await backend.send([make("a", 2, event_id="order-1")])
        assert numbers([again]) == [2]
    assert stored(fake, "a") == [2]
