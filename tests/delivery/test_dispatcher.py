"""The dispatcher, against real receivers: signatures, the schedule, disabling, leases, fairness, limits."""

from __future__ import annotations

import random
import sqlite3
import statistics
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from standardwebhooks import Webhook

from starlette_webhooks import __version__
from starlette_webhooks.delivery.retry import next_attempt, parse_retry_after
from starlette_webhooks.payloads import new_event
from starlette_webhooks.settings import WebhooksSettings
from starlette_webhooks.stores.base import Recovered, RecoverWindow
from starlette_webhooks.stores.sqlite.database import Database
from starlette_webhooks.stores.sqlite.store import SQLiteStore
from tests.clock import Clock
from tests.delivery.delivering import (
    Deliverer,
    add_endpoint,
    blackhole,
    delivering,
    emit,
    stopped_clock,
)
from tests.eventually import eventually
from tests.receivers import Received, Receiver, receiving
from tests.scarcity import no_free_descriptors
from tests.settings import make_settings
from tests.wire import answer_with, listening

DAY = 86_400


def answering_after(event: threading.Event) -> Callable[[Received], int]:
    """Let a receiver answer only once an event is set."""

    def answer(request: Received) -> int:
        event.wait(20)
        return 200

    return answer


@pytest.fixture
def receiver() -> Generator[Receiver]:
    with receiving() as running:
        yield running


async def test_a_delivery_is_signed_by_the_letter_of_the_standard(receiver: Receiver, tmp_path: Path) -> None:
    async with delivering(make_settings(tmp_path)) as deliverer:
        # As stored by a version that allowed such names.
        refused = {"Content-Type": "text/plain", "X-Forwarded-For": "10.0.0.1"}
        endpoint = await deliverer.endpoint(receiver.url, headers={"X-Own": "yes", **refused})
        event = await deliverer.emit()
        (attempt,) = await deliverer.attempted(1)
        secret = await deliverer.store.get_secret("acme", endpoint.id)
        assert await deliverer.pending() == 0
    (request,) = receiver.requests
    assert secret is not None
    assert Webhook(secret).verify(request.body, request.headers)["type"] == "invoice.paid"
    assert request.body == event.payload
    assert request.headers["webhook-id"] == event.id
    assert abs(int(request.headers["webhook-timestamp"]) - time.time()) < 5
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"] == f"starlette-webhooks/{__version__}"
    assert request.headers["x-own"] == "yes"
    assert "x-forwarded-for" not in request.headers
    assert (attempt.status, attempt.status_code, attempt.response, attempt.number) == ("success", 200, "ok", 1)
    assert (attempt.event_id, attempt.endpoint_id, attempt.url) == (event.id, endpoint.id, receiver.url)
    assert (attempt.trigger, attempt.next_attempt_at) == ("scheduled", None)


@pytest.mark.parametrize(("style", "families"), [("svix", {"svix"}), ("both", {"svix", "webhook"})])
async def test_signature_headers_are_named_by_the_setting(
    receiver: Receiver, tmp_path: Path, style: str, families: set[str]
) -> None:
    async with delivering(make_settings(tmp_path, signature_headers=style)) as deliverer:
        await deliverer.endpoint(receiver.url)
        await deliverer.emit()
        await deliverer.attempted(1)
    names = {name for name in receiver.requests[0].headers if name.endswith(("-id", "-timestamp", "-signature"))}
    assert names == {f"{family}-{part}" for family in families for part in ("id", "timestamp", "signature")}


async def test_after_a_rotation_both_secrets_sign_until_the_old_one_expires(receiver: Receiver, tmp_path: Path) -> None:
    async with delivering(make_settings(tmp_path)) as deliverer:
        endpoint = await deliverer.endpoint(receiver.url)
        old = await deliverer.store.get_secret("acme", endpoint.id)
        new = "whsec_" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY="
        await deliverer.store.rotate_secret("acme", endpoint.id, new)
        await deliverer.emit()
        await deliverer.attempted(1)
        await deliverer.forward(DAY + 1)
        await deliverer.emit()
        await deliverer.attempted(2)
    during, afterwards = (request.headers["webhook-signature"].split() for request in receiver.requests)
    assert (len(during), len(afterwards)) == (2, 1)
    request = receiver.requests[0]
    for secret in (old, new):
        assert secret is not None
        Webhook(secret).verify(request.body, request.headers)
    stamped = int(receiver.requests[1].headers["webhook-timestamp"])
    assert abs(stamped - time.time() - DAY) < 60, "each attempt is signed with its own time"


async def test_failures_are_repeated_ten_times_over_75_hours(receiver: Receiver, tmp_path: Path) -> None:
    receiver.status = 500
    settings = make_settings(tmp_path)
    async with delivering(settings) as deliverer:
        await deliverer.endpoint(receiver.url)
        event = await deliverer.emit()
        for number in range(1, 11):
            attempts = await deliverer.attempted(number)
            last = attempts[-1]
            assert (last.number, last.status, last.status_code) == (number, "fail", 500)
            if number == 10:
                break
            assert last.next_attempt_at is not None
            ended = last.timestamp.timestamp() + last.duration_ms / 1000
            delay = settings.retry_schedule[number]
            assert 0.8 * delay - 0.1 <= last.next_attempt_at.timestamp() - ended <= 1.2 * delay + 1
            await deliverer.forward(last.next_attempt_at.timestamp() - deliverer.clock() - 1)
            await anyio.lowlevel.checkpoint()
            assert len(receiver.requests) == number, "not before it is due"
            await deliverer.forward(1.01)
        assert last.next_attempt_at is None
        assert await deliverer.pending() == 0
    span = attempts[-1].timestamp - attempts[0].timestamp
    assert 0.8 * 270_305 <= span.total_seconds() <= 1.2 * 270_305 + 60
    assert receiver.ids() == [event.id] * 10
    stamps = [int(request.headers["webhook-timestamp"]) for request in receiver.requests]
    assert stamps == sorted(stamps)
    assert len(set(stamps)) == 10


def test_the_schedule_of_the_standard_spans_75_hours_35_minutes_and_5_seconds(tmp_path: Path) -> None:
    schedule = make_settings(tmp_path).retry_schedule
    due = 1000.0
    for step in range(len(schedule) - 1):
        later = next_attempt(schedule, step, now=due, retry_after=None, random=lambda: 0.5)
        assert later is not None
        due = later
    assert due - 1000 == 75 * 3600 + 35 * 60 + 5
    assert next_attempt(schedule, 9, now=due, retry_after=60.0, random=lambda: 0.5) is None


@pytest.mark.parametrize(("random", "delay"), [(0.0, 240), (0.5, 300), (1.0, 360)])
def test_the_jitter_is_a_fifth_either_way(random: float, delay: float) -> None:
    assert next_attempt((0, 5, 300), 1, now=0, retry_after=None, random=lambda: random) == pytest.approx(delay)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        (" 1.5 ", 1.5),
        ("999999", 86_400.0),
        ("Thu, 01 Jan 1970 00:20:00 GMT", 200.0),
        ("Thursday, 01-Jan-70 00:20:00 GMT", 200.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("Thu, 01 Jan 2099 00:00:00 GMT", 86_400.0),
        ("-5", None),
        ("soon", None),
        ("1e400", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_read_in_both_forms(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value, 1000.0) == seconds


@pytest.mark.parametrize("form", ["seconds", "date"])
async def test_retry_after_puts_the_next_attempt_off(receiver: Receiver, tmp_path: Path, form: str) -> None:
    later = datetime.fromtimestamp(time.time() + 7200, UTC)
    receiver.status = 503
    receiver.headers = {"Retry-After": "7200" if form == "seconds" else format_datetime(later, usegmt=True)}
    async with delivering(make_settings(tmp_path)) as deliverer:
        await deliverer.endpoint(receiver.url)
        await deliverer.emit()
        (attempt,) = await deliverer.attempted(1)
    assert attempt.next_attempt_at is not None
    assert abs(attempt.next_attempt_at.timestamp() - later.timestamp()) < 5


async def test_retry_after_does_not_shorten_the_schedule(receiver: Receiver, tmp_path: Path) -> None:
    receiver.status, receiver.headers = 503, {"Retry-After": "1"}
    async with delivering(make_settings(tmp_path, retry_schedule="0,300")) as deliverer:
        await deliverer.endpoint(receiver.url)
        await deliverer.emit()
        (attempt,) = await deliverer.attempted(1)
    assert attempt.next_attempt_at is not None
    assert attempt.next_attempt_at.timestamp() - time.time() > 200


@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_pauses_all_deliveries_to_the_endpoint(
    receiver: Receiver, tmp_path: Path, status: int
) -> None:
    receiver.status, receiver.headers = status, {"Retry-After": "1000"}
    async with delivering(make_settings(tmp_path)) as deliverer:
        await deliverer.endpoint(receiver.url)
        await deliverer.emit()
        await deliverer.attempted(1)
        receiver.status, receiver.headers = 200, {}
        second = await deliverer.emit()
        await deliverer.settle()
        assert len(receiver.requests) == 1
        await deliverer.forward(1201)
        attempts = await deliverer.attempted(3)
    assert [attempt.status_code for attempt in attempts] == [status, 200, 200]
    assert second.id in receiver.ids()


@pytest.mark.parametrize("status", [301, 308, 304])
async def test_redirects_are_failures_and_not_followed(receiver: Receiver, tmp_path: Path, status: int) -> None:
    with receiving() as elsewhere:
        receiver.status, receiver.headers = status, {"Location": elsewhere.url}
        async with delivering(make_settings(tmp_path, retry_schedule="0")) as deliverer:
            await deliverer.endpoint(receiver.url)
            await deliverer.emit()
            (attempt,) = await deliverer.attempted(1)
        assert (attempt.status, attempt.status_code) == ("fail", status)
        assert elsewhere.requests == []


async def test_an_endpoint_that_is_gone_is_disabled_and_keeps_what_is_pending(
    receiver: Receiver, tmp_path: Path
) -> None:
    receiver.status = 410
    async with delivering(make_settings(tmp_path)) as deliverer:
        endpoint = await deliverer.endpoint(receiver.url)
        event = await deliverer.emit()
        (attempt,) = await deliverer.attempted(1)
        assert (attempt.status_code, attempt.next_attempt_at) == (410, None)
        assert await deliverer.disabled() == {endpoint.id: "gone"}
        await deliverer.emit()
        await deliverer.forward(10)
        await deliverer.settle()
        assert len(receiver.requests) == 1
        receiver.status = 200
        await deliverer.update(endpoint, disabled=False)
        await deliverer.attempted(2)
        await deliverer.emit()
        await deliverer.attempted(3)
    assert receiver.ids()[:2] == [event.id, event.id]


async def test_an_endpoint_that_fails_for_five_days_is_disabled(receiver: Receiver, tmp_path: Path) -> None:
    receiver.status = 500
    async with delivering(make_settings(tmp_path, retry_schedule="0")) as deliverer:
        endpoint = await deliverer.endpoint(receiver.url)
        await deliverer.emit()
        await deliverer.attempted(1)
        await deliverer.forward(5 * DAY - 60)
        await deliverer.emit()
        await deliverer.attempted(2)
        assert await deliverer.disabled() == {}
        await deliverer.forward(120)
        await deliverer.emit()
        await deliverer.attempted(3)
        assert await deliverer.disabled() == {endpoint.id: "failing"}


async def test_a_success_in_between_starts_the_five_days_anew(receiver: Receiver, tmp_path: Path) -> None:
    async with delivering(make_settings(tmp_path, retry_schedule="0")) as deliverer:
        await deliverer.endpoint(receiver.url)
        for number, (status, days) in enumerate([(500, 0), (200, 4), (500, 4), (500, 4)], start=1):
            receiver.status = status
            await deliverer.forward(days * DAY)
            await deliverer.emit()
            await deliverer.attempted(number)
        assert await deliverer.disabled() == {}


async def test_responses_are_kept_up_to_16_kib_as_text(tmp_path: Path) -> None:
    answer = b"HTTP/1.1 500 No\r\nConnection: close\r\n\r\n\x00\xff" + b"x" * 20_000
    async with listening(answer_with(answer)) as wire, delivering(make_settings(tmp_path)) as deliverer:
        await deliverer.endpoint(wire.url())
        await deliverer.emit()
        (attempt,) = await deliverer.attempted(1)
    assert attempt.response == "\ufffd" + "x" * 16_382


async def test_beyond_a_days_quota_only_the_beginning_of_responses_is_stored(tmp_path: Path) -> None:
    answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b"x" * 1000
    settings = make_settings(tmp_path, response_bytes_per_day=2500)
    async with listening(answer_with(answer)) as wire, delivering(settings) as deliverer:
        await deliverer.endpoint(wire.url())
        for number in range(1, 4):
            await deliverer.emit()
            attempts = await deliverer.attempted(number)
    assert sorted(len(attempt.response) for attempt in attempts) == [512, 1000, 1000]


async def test_no_answer_is_a_failure_with_a_reason(tmp_path: Path) -> None:
    with blackhole() as url:
        async with delivering(make_settings(tmp_path, attempt_timeout=0.05)) as deliverer:
            await deliverer.endpoint(url)
            await deliverer.emit()
            (attempt,) = await deliverer.attempted(1)
    assert (attempt.status, attempt.status_code, attempt.error) == ("fail", 0, "timeout")
    assert attempt.next_attempt_at is not None


async def test_pending_retries_survive_a_restart(receiver: Receiver, tmp_path: Path) -> None:
    receiver.status = 500
    clock = Clock()
    async with delivering(make_settings(tmp_path), clock=clock) as deliverer:
        await deliverer.endpoint(receiver.url)
        event = await deliverer.emit()
        await deliverer.attempted(1)
    receiver.status = 200
    clock.advance(7)
    async with delivering(make_settings(tmp_path), clock=clock) as deliverer:
        attempts = await deliverer.attempted(2)
        assert await deliverer.pending() == 0
    assert [attempt.number for attempt in attempts] == [1, 2]
    assert receiver.ids() == [event.id, event.id]


async def test_a_short_retry_is_made_on_time(receiver: Receiver, tmp_path: Path) -> None:
    receiver.answer = lambda request: 500 if len(receiver.requests) == 1 else 200
    async with delivering(make_settings(tmp_path, retry_schedule="0,0.3")) as deliverer:
        await deliverer.endpoint(receiver.url)
        await deliverer.emit()
        await deliverer.attempted(2)
    first, second = receiver.requests
    assert 0.2 < second.at - first.at < 0.8


async def test_a_wake_that_names_endpoints_needs_no_scan(receiver: Receiver, tmp_path: Path) -> None:
    async with delivering(make_settings(tmp_path), scan_every=60.0) as deliverer:
        # Once this has been attempted, the first scan has also ended.
        await deliverer.endpoint("http://127.0.0.1:9/", "globex")
        await deliverer.emit("globex")
        await deliverer.attempted(1, tenant="globex")
        endpoint = await deliverer.endpoint(receiver.url)
        await deliverer.emit_elsewhere()
        await deliverer.emit_elsewhere("globex")
        deliverer.dispatcher.wake([1])
        await deliverer.attempted(2, tenant="globex")
        assert receiver.requests == []
        number = await deliverer.store.endpoint_number("acme", endpoint.id)
        assert number is not None
        deliverer.dispatcher.wake([number])
        await deliverer.attempted(1)


async def test_commits_of_another_process_are_found_within_a_second(receiver: Receiver, tmp_path: Path) -> None:
    async with delivering(make_settings(tmp_path)) as deliverer:
        await deliverer.endpoint(receiver.url)
        await deliverer.emit_elsewhere()
        with anyio.fail_after(2):
            await deliverer.attempted(1)


async def test_a_delivery_that_cannot_be_made_is_recorded_and_stops_no_other(
    receiver: Receiver, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with delivering(make_settings(tmp_path, retry_schedule="0")) as deliverer:
        broken, _ = await deliverer.endpoint(receiver.url), await deliverer.endpoint(receiver.url)
        await deliverer.store.database.write(
            lambda connection: (
                connection.execute("UPDATE endpoint_secret SET key = 'whsec_%' WHERE endpoint = 1").rowcount
            )
        )
        await deliverer.emit()
        attempts = await deliverer.attempted(2)
    assert {attempt.endpoint_id: attempt.error for attempt in attempts}[broken.id] == "internal error of the sender"
    assert sorted(attempt.status for attempt in attempts) == ["fail", "success"]
    assert "cannot be sent" in caplog.text


async def test_a_resent_event_arrives_again_and_counts_on(receiver: Receiver, tmp_path: Path) -> None:
    async with delivering(make_settings(tmp_path)) as deliverer:
        endpoint = await deliverer.endpoint(receiver.url)
        event = await deliverer.emit()
        await deliverer.attempted(1)
        assert await deliverer.store.resend("acme", event.id, endpoint.id) is True
        deliverer.dispatcher.wake()
        attempts = await deliverer.attempted(2)
    assert [(attempt.number, attempt.trigger) for attempt in attempts] == [(1, "scheduled"), (2, "manual")]
    assert receiver.ids() == [event.id, event.id]


async def test_recovering_delivers_what_failed(receiver: Receiver, tmp_path: Path) -> None:
    receiver.status = 500
    async with delivering(make_settings(tmp_path, retry_schedule="0")) as deliverer:
        endpoint = await deliverer.endpoint(receiver.url)
        since = datetime.now(UTC) - timedelta(seconds=1)
        events = [await deliverer.emit() for _ in range(3)]
        await deliverer.attempted(3)
        receiver.status = 200
        recovered = await deliverer.store.recover("acme", endpoint.id, RecoverWindow(since, None, False), None)
        deliverer.dispatcher.wake()
        await deliverer.attempted(3, status="success")
    assert recovered == Recovered(3, None)
    assert sorted(receiver.ids()[3:]) == [event.id for event in events]


async def test_two_dispatchers_on_one_file_share_the_work_without_duplicates(
    receiver: Receiver, tmp_path: Path
) -> None:
    settings = make_settings(tmp_path)
    async with delivering(settings) as one, delivering(settings) as two:
        for number in range(4):
            await one.endpoint(f"{receiver.url}/{number}")
        events = 0
        for number in range(50):
            await (one if number % 2 else two).emit()
            events += 1

        async def empty() -> bool:
            return await one.pending() == 0

        await eventually(empty)
    arrivals = [(request.path, request.headers["webhook-id"]) for request in receiver.requests]
    assert len(arrivals) == 4 * events
    assert len(set(arrivals)) == len(arrivals)


KILLED = """
from pathlib import Path
import anyio
from tests.delivery.delivering import delivering
from tests.settings import make_settings
from tests.wire import answer_with, listening

async def main():
    async with delivering(make_settings(Path({directory!r}))):
        await anyio.sleep(30)

anyio.run(main)
"""


async def test_what_a_killed_process_had_leased_is_delivered_after_the_lease(
    receiver: Receiver, tmp_path: Path
) -> None:
    killed = threading.Event()
    receiver.answer = answering_after(killed)
    settings = make_settings(tmp_path)
    database = Database(settings.database)
    async with database.lifespan():
        await database.write(partial(add_endpoint, url=receiver.url))
        event = await database.write(emit)
    command = [sys.executable, "-c", KILLED.format(directory=str(tmp_path))]
    async with await anyio.open_process(command, cwd=Path(__file__).parents[2], stdout=None) as process:
        await eventually(lambda: receiver.requests)
        process.kill()
    killed.set()
    async with delivering(settings) as deliverer:
        await deliverer.settle()
        assert len(receiver.requests) == 1, "the lease has not ended yet"
        await deliverer.forward(settings.attempt_timeout + 11)
        (attempt,) = await deliverer.attempted(1)
    assert attempt.number == 2
    assert receiver.ids() == [event.id, event.id]


async def test_an_attempt_under_way_ends_before_the_dispatcher_does(receiver: Receiver, tmp_path: Path) -> None:
    ending = threading.Event()
    receiver.answer = answering_after(ending)
    async with delivering(make_settings(tmp_path)) as deliverer:
        await deliverer.endpoint(receiver.url)
        await deliverer.emit()
        await eventually(lambda: receiver.requests)
        threading.Timer(0.1, ending.set).start()
    async with delivering(make_settings(tmp_path)) as deliverer:
        assert len(await deliverer.attempts()) == 1
        assert await deliverer.pending() == 0


async def test_an_attempt_that_hangs_delays_the_end_only_briefly(tmp_path: Path) -> None:
    with blackhole() as url:
        async with delivering(make_settings(tmp_path)) as deliverer:
            await deliverer.endpoint(url)
            await deliverer.emit()
            await eventually(lambda: deliverer.dispatcher.in_flight)
            started = time.monotonic()
    assert time.monotonic() - started < 3


async def test_dead_endpoints_do_not_delay_a_healthy_one(receiver: Receiver, tmp_path: Path) -> None:
    settings = make_settings(tmp_path, concurrency=16, attempt_timeout=10, shutdown_grace=0.1)
    with blackhole() as url:
        async with delivering(settings) as deliverer:
            await deliverer.endpoint(receiver.url, tenant="healthy")
            await deliverer.emit(tenant="healthy")
            await eventually(lambda: receiver.requests)
            for number in range(50):
                await deliverer.endpoint(f"{url}{number}", tenant=f"dead{number % 5}")
            for number in range(5):
                await deliverer.emit(tenant=f"dead{number}")
            await eventually(lambda: deliverer.dispatcher.in_flight > 8)
            delays = []
            for _ in range(20):
                count, started = len(receiver.requests), time.monotonic()
                await deliverer.emit(tenant="healthy")
                await eventually(partial(lambda count: len(receiver.requests) > count, count))
                delays.append(time.monotonic() - started)
            assert deliverer.dispatcher.in_flight > 8
    # Without a reserved slot, it would wait until an attempt times out.
    assert max(delays) < 3


async def test_a_failing_endpoint_is_attempted_less_and_less_often_whatever_waits_for_it(
    receiver: Receiver, tmp_path: Path
) -> None:
    receiver.status = 500
    settings = make_settings(tmp_path, retry_schedule="0")
    async with delivering(settings, clock=stopped_clock(), jitter=lambda: 0.5) as deliverer:
        await deliverer.endpoint(receiver.url)
        for _ in range(12):
            await deliverer.emit()
        await deliverer.attempted(2)
        for number, seconds in enumerate([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5, 5], start=2):
            await deliverer.forward(seconds - 0.005)
            deliverer.dispatcher.wake([1])
            await deliverer.settle()
            assert len(receiver.requests) == number, "neither a new event nor a wake ends the pause early"
            await deliverer.forward(0.006)
            await deliverer.attempted(number + 1)


async def test_once_an_endpoint_works_again_its_backlog_is_delivered(receiver: Receiver, tmp_path: Path) -> None:
    receiver.status = 500
    async with delivering(make_settings(tmp_path, retry_schedule="0"), clock=stopped_clock()) as deliverer:
        await deliverer.endpoint(receiver.url)
        for _ in range(20):
            await deliverer.emit()
        await deliverer.attempted(2)
        receiver.status = 200
        await deliverer.forward(0.12)
        await deliverer.attempted(20)
        assert await deliverer.pending() == 0
    assert len(set(receiver.ids())) == 20


async def test_an_endpoint_that_fails_does_not_go_ahead_of_a_healthy_one(receiver: Receiver, tmp_path: Path) -> None:
    receiver.answer = lambda request: 500 if request.path.endswith("/fails") else 200
    settings = make_settings(tmp_path, concurrency=1, retry_schedule="0")
    async with delivering(settings, clock=stopped_clock()) as deliverer:
        await deliverer.endpoint(f"{receiver.url}/fails")
        await deliverer.endpoint(f"{receiver.url}/works")
        await deliverer.emit()
        await deliverer.attempted(2)
        await deliverer.forward(10)
        # The dispatcher must find that the first one has nothing left before there is more.
        await deliverer.settle()
        await deliverer.emit()
        await deliverer.attempted(4)
    assert [request.path for request in receiver.requests][2:] == ["/hook/works", "/hook/fails"]


async def test_slow_endpoints_take_half_of_the_slots_at_most(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, concurrency=8, attempt_timeout=0.2, retry_schedule="0", shutdown_grace=0.1)
    with blackhole() as url:
        async with delivering(settings) as deliverer:
            for number in range(10):
                await deliverer.endpoint(f"{url}{number}")
            await deliverer.emit()
            await deliverer.attempted(10)
            most = 0
            await deliverer.emit()
            while len(await deliverer.attempts()) < 20:
                most = max(most, deliverer.dispatcher.in_flight)
                await anyio.sleep(0.01)
    assert most == 4


async def test_failing_endpoints_are_not_attempted_all_at_once(receiver: Receiver, tmp_path: Path) -> None:
    arrivals: list[float] = []

    def answer(request: Received) -> int:
        arrivals.append(time.monotonic())
        return 500

    receiver.answer = answer
    settings = make_settings(tmp_path, concurrency=16, retry_schedule="0,5")
    async with delivering(settings) as deliverer:
        for number in range(24):
            await deliverer.endpoint(f"{receiver.url}/{number}")
        await deliverer.emit()
        await deliverer.attempted(24)
        arrivals.clear()
        await deliverer.emit()
        await deliverer.attempted(48)
    assert len(arrivals) == 24
    assert max(arrivals) - min(arrivals) > 0.09, "four every 20 ms"


async def test_attempts_to_one_endpoint_are_bounded_and_grow_with_success(receiver: Receiver, tmp_path: Path) -> None:
    now = most = 0

    def answer(request: Received) -> int:
        nonlocal now, most
        now += 1
        most = max(most, now)
        time.sleep(0.03)
        now -= 1
        return 200

    receiver.answer = answer
    async with delivering(make_settings(tmp_path, endpoint_concurrency=3)) as deliverer:
        await deliverer.endpoint(receiver.url)
        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(deliverer.emit)
        await deliverer.attempted(20)
    assert most == 3


async def test_the_rate_limit_holds_for_two_processes_together(receiver: Receiver, tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    async with delivering(settings) as one, delivering(settings) as two:
        await one.endpoint(receiver.url, rate_limit=20)
        for _ in range(20):
            await one.emit()
            two.dispatcher.wake()
        await one.attempted(20)
    arrivals = sorted(request.at for request in receiver.requests)
    assert len(arrivals) == 20
    assert 0.75 < arrivals[-1] - arrivals[0] < 2.5


@pytest.mark.parametrize("seconds", [0, 60], ids=["within its lease", "after its lease"])
async def test_an_attempt_that_cannot_be_recorded_yet_is_recorded_later_and_not_repeated(
    receiver: Receiver, tmp_path: Path, caplog: pytest.LogCaptureFixture, seconds: int
) -> None:
    locked = threading.Event()
    receiver.answer = answering_after(locked)
    settings = make_settings(tmp_path)
    async with delivering(settings, pause=0.05) as deliverer:
        await deliverer.endpoint(receiver.url)
        await deliverer.emit()
        await eventually(lambda: receiver.requests)
        with unwritable(settings):
            locked.set()
            await eventually(lambda: "waiting to be recorded" in caplog.text)
            await deliverer.forward(seconds)
        (attempt,) = await deliverer.attempted(1)
        await eventually(lambda: not deliverer.dispatcher.busy)
        assert await deliverer.pending() == 0
    assert attempt.number == 1
    assert len(receiver.requests) == 1


async def test_deliveries_that_cannot_be_claimed_yet_are_delivered_later(
    receiver: Receiver, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = make_settings(tmp_path)
    async with delivering(settings, scan_every=60.0, pause=0.05) as deliverer:
        await deliverer.endpoint(receiver.url)
        await deliverer.emit_elsewhere()
        with unwritable(settings):
            deliverer.dispatcher.wake()
            await eventually(lambda: "Deliveries are waiting" in caplog.text)
            assert receiver.requests == []
        await deliverer.attempted(1)


async def test_a_fault_of_ours_in_claiming_is_logged_and_holds_nothing_up_for_good(
    receiver: Receiver, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with delivering(make_settings(tmp_path), scan_every=60.0, pause=0.05) as deliverer:
        await deliverer.endpoint(receiver.url)
        await refuse(deliverer, event="UPDATE ON delivery")
        await deliverer.emit()
        await eventually(lambda: "Deliveries could not be claimed. Trying again." in caplog.text)
        assert receiver.requests == []
        await execute(deliverer, "DROP TRIGGER refusal")
        await deliverer.attempted(1)


async def test_aborted_attempts_that_cannot_be_released_are_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with blackhole() as url:
        async with delivering(make_settings(tmp_path, shutdown_grace=0.1)) as deliverer:
            await deliverer.endpoint(url)
            await deliverer.emit()
            await eventually(lambda: deliverer.dispatcher.in_flight)
            await refuse(deliverer, event="UPDATE ON delivery")
    assert "Aborted attempts are repeated only after their leases end" in caplog.text


@contextmanager
def unwritable(settings: WebhooksSettings) -> Generator[None]:
    """Let every transaction fail until the block ends, because another program holds the file's lock."""
    with closing(sqlite3.connect(settings.database_url.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


async def execute(deliverer: Deliverer, statement: str) -> None:
    await deliverer.store.database.write(lambda connection: connection.execute(statement).close())


async def refuse(deliverer: Deliverer, *, event: str, when: str = "1") -> None:
    """Let the database refuse certain rows, like a bug of ours, for which a retry does not help."""
    await execute(
        deliverer, f"CREATE TRIGGER refusal BEFORE {event} WHEN {when} BEGIN SELECT RAISE(ABORT, 'refused'); END"
    )


async def test_an_attempt_that_cannot_be_recorded_completely_is_recorded_without_its_details(
    receiver: Receiver, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with delivering(make_settings(tmp_path)) as deliverer:
        await deliverer.endpoint(receiver.url)
        await refuse(deliverer, event="INSERT ON attempt", when="new.response != ''")
        event = await deliverer.emit()
        (attempt,) = await deliverer.attempted(1)
        assert await deliverer.pending() == 0
    assert (attempt.event_id, attempt.status, attempt.status_code, attempt.response) == (event.id, "success", 200, "")
    assert len(receiver.requests) == 1
    assert "could not be recorded. Recording its result alone." in caplog.text


@pytest.mark.parametrize(("status", "notice"), [(500, "message.attempt.exhausted"), (410, "endpoint.disabled")])
async def test_an_attempt_is_recorded_if_the_event_about_it_cannot_be_stored(
    receiver: Receiver, tmp_path: Path, status: int, notice: str
) -> None:
    receiver.status = status
    async with delivering(make_settings(tmp_path, retry_schedule="0")) as deliverer:
        deliverer.store.operator = "globex"
        await deliverer.endpoint(receiver.url)
        await refuse(deliverer, event="INSERT ON event", when=f"new.type = '{notice}'")
        await deliverer.emit()
        (attempt,) = await deliverer.attempted(1)
        assert await deliverer.pending() == 0
    assert (attempt.status, attempt.status_code, len(receiver.requests)) == ("fail", status, 1)


async def test_a_delivery_whose_result_cannot_be_recorded_is_set_aside_and_logged(
    receiver: Receiver, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with delivering(make_settings(tmp_path)) as deliverer:
        endpoint = await deliverer.endpoint(receiver.url)
        await refuse(deliverer, event="INSERT ON attempt")
        event = await deliverer.emit()
        await eventually(lambda: "unless somebody resends it" in caplog.text and not deliverer.dispatcher.busy)
        await deliverer.forward(DAY)
        await deliverer.emit(type="later.one")
        await eventually(lambda: len(receiver.requests) == 2 and not deliverer.dispatcher.busy)
        assert receiver.ids().count(event.id) == 1, "it is not repeated endlessly"
        assert await deliverer.pending() == 2
        await execute(deliverer, "DROP TRIGGER refusal")
        await deliverer.store.resend("acme", event.id, endpoint.id)
        deliverer.dispatcher.wake()
        await deliverer.attempted(1)
    assert event.id in caplog.text
    assert endpoint.id in caplog.text


async def test_without_resources_an_attempt_is_made_later_and_the_receiver_is_not_blamed(
    receiver: Receiver, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with delivering(make_settings(tmp_path), pause=0.1, scan_every=3600) as deliverer:
        # Once this has failed, the first scan has ended, and the next one starts only on request.
        refusing = await deliverer.endpoint("http://127.0.0.1:9/", tenant="globex")
        await deliverer.emit("globex")
        await deliverer.attempted(1, tenant="globex", endpoint_id=refusing.id)
        endpoint = await deliverer.endpoint(receiver.url)
        await deliverer.emit_elsewhere()
        await deliverer.emit_elsewhere()
        with no_free_descriptors():
            deliverer.dispatcher.wake()
            await eventually(lambda: "Attempts are made later." in caplog.text)
            assert str(deliverer.dispatcher.problem).startswith("Attempts are made later.")
        first, second = await deliverer.attempted(2)
        assert deliverer.dispatcher.problem is None
        stats = await deliverer.store.endpoint_stats(
            "acme", endpoint.id, datetime.now(UTC) - timedelta(hours=1), datetime.now(UTC)
        )
    assert [(one.number, one.status) for one in (first, second)] == [(1, "success"), (1, "success")]
    assert stats is not None
    assert stats.fail == 0
    assert len(receiver.requests) == 2


async def test_attempts_that_are_aborted_at_shutdown_are_repeated_immediately_by_the_next_process(
    receiver: Receiver, tmp_path: Path
) -> None:
    settings = make_settings(tmp_path, shutdown_grace=0.1)
    with blackhole() as url:
        async with delivering(settings) as deliverer:
            endpoint = await deliverer.endpoint(url)
            await deliverer.emit()
            await eventually(lambda: deliverer.dispatcher.in_flight)
    async with delivering(settings) as deliverer:
        await deliverer.update(endpoint, url=receiver.url)
        (attempt,) = await deliverer.attempted(1)
    assert attempt.number == 1


async def test_running_attempts_get_the_time_of_the_setting_to_end(receiver: Receiver, tmp_path: Path) -> None:
    def slow(request: Received) -> int:
        # Longer than the settings of other tests allow.
        time.sleep(1.3)
        return 200

    receiver.answer = slow
    settings = make_settings(tmp_path, shutdown_grace=10)
    async with delivering(settings) as deliverer:
        await deliverer.endpoint(receiver.url)
        await deliverer.emit()
        await eventually(lambda: receiver.requests)
    async with delivering(settings) as deliverer:
        assert [one.status for one in await deliverer.attempts()] == ["success"]
        assert await deliverer.pending() == 0


async def test_an_endpoint_that_fails_occasionally_keeps_its_queue_moving(receiver: Receiver, tmp_path: Path) -> None:
    failures = random.Random(1)
    async with delivering(make_settings(tmp_path, retry_schedule="0")) as deliverer:
        await deliverer.endpoint(receiver.url)

        async def drain() -> float:
            await deliverer.store.submit([new_event("a.b", {"n": n}, tenant="acme") for n in range(600)]).wait()
            started = time.monotonic()
            deliverer.dispatcher.wake()

            async def empty() -> bool:
                return await deliverer.pending() == 0

            await eventually(empty, within=25)
            return time.monotonic() - started

        healthy = await drain()
        receiver.answer = lambda request: 500 if failures.random() < 0.3 else 200
        sometimes_failing = await drain()
    # With a pause after every two failures in a row, it took five to ten times as long.
    assert sometimes_failing < 3 * healthy


async def test_tests_and_resends_go_before_the_backlog_of_a_failing_endpoint(
    receiver: Receiver, tmp_path: Path
) -> None:
    receiver.status = 500
    async with delivering(make_settings(tmp_path), clock=stopped_clock()) as deliverer:
        endpoint = await deliverer.endpoint(receiver.url)
        backlog = [(await deliverer.emit()).id for _ in range(20)]
        await deliverer.attempted(2)
        count = len(receiver.requests)
        deliverer.store.on_deliveries(deliverer.dispatcher)
        for number in range(1, 4):
            test = await deliverer.store.insert_for(new_event("a.b", {}, tenant="acme", test=True), "acme", endpoint.id)
            await eventually(partial(lambda id: id in receiver.ids(), test.id))
            assert len(receiver.requests) == count + number, "the pause applies to everything else"
        await deliverer.store.resend("acme", backlog[15], endpoint.id)
        await eventually(lambda: backlog[15] in receiver.ids())
        (attempt,) = await deliverer.attempted(1, event_id=backlog[15])
    assert attempt.trigger == "manual"


async def test_a_test_that_hangs_does_not_hold_up_the_next(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, shutdown_grace=0.1, endpoint_concurrency=1)
    with blackhole() as url:
        async with delivering(settings) as deliverer:
            endpoint = await deliverer.endpoint(url)
            await deliverer.emit()
            await eventually(lambda: deliverer.dispatcher.in_flight == 1)
            deliverer.store.on_deliveries(deliverer.dispatcher)
            for number in range(2, 5):
                await deliverer.store.insert_for(new_event("a.b", {}, tenant="acme", test=True), "acme", endpoint.id)
                await eventually(partial(lambda number: deliverer.dispatcher.in_flight == number, number))


async def test_a_test_that_succeeds_ends_the_pause_of_its_endpoint(receiver: Receiver, tmp_path: Path) -> None:
    receiver.status = 500
    async with delivering(make_settings(tmp_path, retry_schedule="0"), clock=stopped_clock()) as deliverer:
        endpoint = await deliverer.endpoint(receiver.url)
        for _ in range(5):
            await deliverer.emit()
        await deliverer.attempted(2)
        receiver.status = 200
        deliverer.store.on_deliveries(deliverer.dispatcher)
        await deliverer.store.insert_for(new_event("a.b", {}, tenant="acme", test=True), "acme", endpoint.id)
        await deliverer.attempted(6)
        assert await deliverer.pending() == 0


async def test_events_of_another_process_are_delivered_within_50_ms(receiver: Receiver, tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    emitting = SQLiteStore(settings.database_url.path)
    async with delivering(settings, scan_every=60.0) as deliverer, emitting.lifespan():
        deliverer.store.on_deliveries(deliverer.dispatcher)
        await deliverer.endpoint(receiver.url)
        delays = []
        for number in range(1, 12):
            await emitting.submit([new_event("a.b", {}, tenant="acme")]).wait()
            committed = time.monotonic()
            await eventually(partial(lambda number: len(receiver.requests) >= number, number))
            delays.append(receiver.requests[-1].at - committed)
    assert statistics.median(delays) < 0.05


@pytest.mark.parametrize("jump", [3600.0, -3600.0])
async def test_a_clock_that_jumps_and_comes_back_stops_no_endpoint(
    receiver: Receiver, tmp_path: Path, jump: float, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.answer = lambda request: 500 if request.path.endswith("/fails") else 200
    clock = Clock()
    settings = make_settings(tmp_path, retry_schedule="0,1,1,1,1,1")
    async with delivering(settings, clock=clock, scan_every=0.1) as deliverer:
        await deliverer.endpoint(f"{receiver.url}/limited", rate_limit=20)
        await deliverer.endpoint(f"{receiver.url}/fails")
        await deliverer.endpoint(f"{receiver.url}/works")

        async def came(path: str, count: int) -> None:
            paths = [f"/hook{path}" for _ in range(count)]
            await eventually(lambda: [one.path for one in receiver.requests].count(paths[0]) >= count)

        await deliverer.emit()
        await came("/limited", 1)
        clock.set_by(jump)
        for _ in range(3):
            await deliverer.emit()
        if jump > 0:
            await came("/limited", 4)
        await eventually(lambda: "clock was set" in caplog.text)
        clock.set_by(-jump)
        receiver.requests.clear()
        for _ in range(5):
            await deliverer.emit()
        await came("/limited", 5)
        await came("/works", 5)
        await came("/fails", 1)


async def test_events_from_just_before_the_clock_was_set_back_are_delivered(
    receiver: Receiver, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    async with delivering(make_settings(tmp_path), clock=clock, scan_every=0.1) as deliverer:
        await deliverer.endpoint(receiver.url)
        clock.set_by(-3600)
        await deliverer.emit()
        await deliverer.attempted(1)
    assert "Moved back" in caplog.text


async def test_an_endpoint_is_not_disabled_for_days_that_did_not_pass(
    receiver: Receiver, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.status = 500
    clock = Clock()
    async with delivering(make_settings(tmp_path, retry_schedule="0"), clock=clock, scan_every=0.05) as deliverer:
        await deliverer.endpoint(receiver.url)
        await deliverer.emit()
        await deliverer.attempted(1)
        clock.set_by(6 * DAY)
        await eventually(lambda: "clock was set" in caplog.text)
        await deliverer.emit()
        await deliverer.attempted(2)
        assert await deliverer.disabled() == {}


async def test_a_deleted_endpoint_drops_running_attempts(receiver: Receiver, tmp_path: Path) -> None:
    deleted = threading.Event()
    receiver.answer = answering_after(deleted)
    async with delivering(make_settings(tmp_path)) as deliverer:
        endpoint = await deliverer.endpoint(receiver.url)
        await deliverer.emit()
        await eventually(lambda: receiver.requests)
        assert await deliverer.store.delete_endpoint("acme", endpoint.id)
        deleted.set()
        await eventually(lambda: not deliverer.dispatcher.in_flight)
        await deliverer.store.database.write(lambda connection: None)
        rows = await deliverer.store.database.read(
            lambda connection: connection.execute(
                "SELECT (SELECT count(*) FROM attempt) + (SELECT count(*) FROM delivery)"
            ).fetchone()
        )
    assert rows == (0,)
