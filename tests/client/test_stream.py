"""Streams of the client, against a server that does what the test says."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from starlette_webhooks.client import APIError, ClientError, Event, Gap, KeyRefused, NotFound
from starlette_webhooks.client.backoff import Backoff
from starlette_webhooks.client.following import Following
from starlette_webhooks.identifiers import first_id, mint
from tests.client.conftest import MakeClient
from tests.client.scripted import Answer, Api, event_of, frame, stream
from tests.eventually import eventually

QUICK = {"max_delay": 0.01}
RETRY = b"retry: 1\n\n"
START = mint("msg_")
EVENTS = [event_of(number) for number in range(6)]
FRAMES = [frame(event) for event in EVENTS]
IDS = [event["id"] for event in EVENTS]


class Stop(Exception):
    """Ends a stream from its `on_retry`."""


def numbers(events: list[Event]) -> list[int]:
    return [event.data["number"] for event in events]


async def take(events: Any, count: int) -> list[Event]:
    with anyio.fail_after(10):
        return [await anext(events) for _ in range(count)]


def asked_after(api: Api) -> list[str | None]:
    return [request.headers.get("last-event-id") for request in api.to()]


async def test_it_resumes_after_the_last_event_however_a_connection_ends(api: Api, make_client: MakeClient) -> None:
    api.then(
        stream(RETRY, *FRAMES[:2]),
        stream(RETRY, FRAMES[2], FRAMES[3][:20], end="reset"),
        Answer(502),
        Answer(503, {"Retry-After": "0"}, b'{"code":"unavailable","detail":"Later."}'),
        stream(RETRY, *FRAMES[3:], end="hold"),
    )
    async with make_client(api.url, **QUICK) as client:
        events = client.stream(after=START, event_types=["invoice.paid", "invoice.failed"], channel="eu")
        received = await take(events, 6)
        assert numbers(received) == [0, 1, 2, 3, 4, 5]
        moment = datetime(2026, 11, 23, 21, 50, tzinfo=UTC)
        assert received[0] == Event(IDS[0], "invoice.paid", EVENTS[0]["payload"], moment)
        assert events.last_event_id == IDS[5]
    assert asked_after(api) == [START, IDS[1], IDS[2], IDS[2], IDS[2]]
    assert {json.dumps(request.query) for request in api.to()} == {
        '{"event_type": ["invoice.paid,invoice.failed"], "channel": ["eu"]}'
    }
    assert {request.headers["authorization"] for request in api.requests} == {"Bearer acme"}


# On Trio, httpx leaves its generators to the garbage collector then, and Trio warns.
@pytest.mark.parametrize("flavour", ["asyncio", "sync"])
async def test_it_resumes_after_bytes_that_cannot_be_decoded(api: Api, make_client: MakeClient) -> None:
    damaged = Answer(200, {"Content-Type": "text/event-stream", "Content-Encoding": "gzip"}, FRAMES[0])
    api.then(damaged, stream(FRAMES[0]))
    async with make_client(api.url, **QUICK) as client:
        assert numbers(await take(client.stream(after=START), 1)) == [0]


async def test_a_bare_id_moves_what_it_resumes_after(api: Api, make_client: MakeClient) -> None:
    api.then(stream(RETRY, FRAMES[0], f"id: {IDS[3]}\n\n".encode()), stream(FRAMES[4], end="hold"))
    async with make_client(api.url, **QUICK) as client:
        events = client.stream(after=IDS[5])
        assert numbers(await take(events, 2)) == [0, 4]
    assert asked_after(api) == [IDS[5], IDS[3]]


async def test_without_an_id_it_starts_at_the_position_of_the_server(api: Api, make_client: MakeClient) -> None:
    api.then(Answer(200, {}, json.dumps({"lastEventId": IDS[0]}).encode()), path="/events/stream/position")
    api.then(Answer(502), stream(FRAMES[1], end="hold"))
    async with make_client(api.url, **QUICK) as client:
        assert numbers(await take(client.stream(), 1)) == [1]
    assert asked_after(api) == [IDS[0], IDS[0]]
    assert len(api.to("/events/stream/position")) == 1


async def test_it_starts_at_a_time_even_if_no_id_can_have_it(api: Api, make_client: MakeClient) -> None:
    moments = [datetime(2026, 11, 1, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC)]
    starts = [first_id("msg_", int(moments[0].timestamp() * 1000)), first_id("msg_", 1_400_000_001_000)]
    api.then(*[stream(FRAMES[0], end="hold") for _ in starts])
    async with make_client(api.url, **QUICK) as client:
        for moment in moments:
            assert numbers(await take(client.stream(since=moment), 1)) == [0]
    assert asked_after(api) == starts


async def test_a_gap_is_raised_and_the_stream_goes_on_after_it(api: Api, make_client: MakeClient) -> None:
    gap = json.dumps({"requested": IDS[0], "oldest": IDS[3]}).encode()
    api.then(stream(b"event: gap\ndata: %b\n\n" % gap, FRAMES[3], end="hold"))
    async with make_client(api.url, **QUICK) as client:
        events = client.stream(after=IDS[0])
        with pytest.raises(Gap, match=IDS[0]) as raised:
            await take(events, 1)
        assert (raised.value.requested, raised.value.oldest) == (IDS[0], IDS[3])
        assert numbers(await take(events, 1)) == [3]
    assert len(api.to()) == 1


async def test_an_event_that_comes_again_is_yielded_once(api: Api, make_client: MakeClient) -> None:
    api.then(stream(RETRY, *FRAMES[:3]), stream(*FRAMES, end="hold"))
    async with make_client(api.url, **QUICK) as client:
        assert numbers(await take(client.stream(after=IDS[0]), 5)) == [1, 2, 3, 4, 5]


async def test_the_key_is_fetched_anew_once_when_it_is_refused(api: Api, make_client: MakeClient) -> None:
    keys = iter(["old", "new", "newer", "newest"])
    refused = Answer(401, {}, b'{"code":"unauthorized","detail":"Send a key."}')
    api.then(refused, stream(RETRY, FRAMES[0]), refused, stream(FRAMES[1]), refused, refused)
    async with make_client(api.url, lambda: next(keys), **QUICK) as client:
        events = client.stream(after=IDS[5])
        assert numbers(await take(events, 2)) == [0, 1]
        with pytest.raises(KeyRefused, match="Send a key") as raised:
            await take(events, 1)
        assert (raised.value.status_code, raised.value.code) == (401, "unauthorized")
    assert [request.headers["authorization"][7:] for request in api.to()] == [
        *("old", "new"),
        *("new", "newer"),
        *("newer", "newest"),
    ]


async def test_a_key_that_never_changes_is_not_tried_again(api: Api, make_client: MakeClient) -> None:
    api.then(Answer(401))
    async with make_client(api.url, **QUICK) as client:
        with pytest.raises(KeyRefused):
            await take(client.stream(after=IDS[0]), 1)
    assert len(api.to()) == 1


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (Answer(403, {}, b'{"code":"missing_scope","detail":"Requires `webhooks:read`."}'), APIError, "webhooks:read"),
        (Answer(404, {}, b"<html>"), NotFound, "Check that the URL"),
        (Answer(307, {"Location": "/elsewhere"}), APIError, "where the API is"),
        (Answer(200, {"Content-Type": "text/html"}, b"<html>"), APIError, "did not come from the API"),
        (stream(b"data: {}\n\n"), APIError, "did not come from the API"),
        (stream(b"data: 1\n\n"), APIError, "did not come from the API"),
        (stream(b"event: gap\ndata: []\n\n"), APIError, "did not come from the API"),
    ],
)
async def test_what_will_not_succeed_later_is_raised(
    api: Api, make_client: MakeClient, answer: Answer, error: type[APIError], message: str
) -> None:
    api.then(answer)
    async with make_client(api.url, **QUICK) as client:
        with pytest.raises(error, match=message):
            await take(client.stream(after=IDS[0]), 1)
    assert len(api.to()) == 1


@pytest.mark.parametrize(
    ("answer", "least"),
    [
        (Answer(429, {"Retry-After": "7"}), 7),
        (Answer(503, {"Retry-After": "120"}), 120),
        (Answer(503, {"Retry-After": "Fri, 31 Dec 2100 23:59:59 GMT"}), 300),
        (Answer(500, {"Retry-After": "soon"}), 0.005),
        (stream(b"retry: 4500\n\n"), 4.5),
        (stream(b"retry: 4500\n\n", end="reset"), 4.5),
    ],
)
async def test_it_waits_as_long_as_the_server_asks(
    api: Api, make_client: MakeClient, answer: Answer, least: float
) -> None:
    delays: list[float] = []

    def stop(error: ClientError | None, delay: float) -> None:
        delays.append(delay)
        raise Stop

    api.then(answer)
    async with make_client(api.url, **QUICK) as client:
        with pytest.raises(Stop):
            await take(client.stream(after=IDS[0], on_retry=stop), 1)
    assert least <= delays[0] <= max(least, 0.01)


def test_a_connection_that_was_open_for_seconds_ends_the_back_off_even_without_an_event() -> None:
    backoff = Backoff(uniform=lambda low, high: high)
    following = Following(after=START, since=None, event_types=(), channel=None, backoff=backoff)

    def pause_after(seconds: float) -> float:
        following.connected(100.0)
        return following.ended(100.0 + seconds)

    assert [pause_after(seconds) for seconds in (5, 5, 1, 1, 5)] == [1, 1, 2, 4, 1]


async def test_it_connects_when_it_is_entered_and_disconnects_at_the_end(api: Api, make_client: MakeClient) -> None:
    api.then(Answer(502), stream(end="hold"))
    async with make_client(api.url, **QUICK) as client:
        async with client.stream(after=IDS[0]) as events:
            assert len(api.to()) == 2
        await eventually(api.left.is_set)
        with pytest.raises(StopAsyncIteration):
            await anext(events)


async def test_leaving_the_loop_and_the_client_disconnects(api: Api, make_client: MakeClient) -> None:
    api.then(stream(*FRAMES, end="hold"))
    async with make_client(api.url, **QUICK) as client:
        async for event in client.stream(after=IDS[0]):
            assert event.id == IDS[1]
            break
    await eventually(api.left.is_set)


@pytest.mark.parametrize("flavour", ["asyncio", "trio"], indirect=True)
async def test_a_cancelled_stream_disconnects_and_goes_on_without_loss(api: Api, make_client: MakeClient) -> None:
    api.then(stream(*FRAMES[:2], end="hold"), stream(*FRAMES[2:], end="hold"))
    async with make_client(api.url, **QUICK) as client:
        events = client.stream(after=START)
        assert numbers(await take(events, 2)) == [0, 1]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anext, events)
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
        await eventually(api.left.is_set)
        assert numbers(await take(events, 3)) == [2, 3, 4]
    assert asked_after(api) == [START, IDS[1]]


@pytest.mark.parametrize("flavour", ["asyncio", "trio"], indirect=True)
@pytest.mark.parametrize(
    ("answer", "count"), [(stream(*FRAMES[:2], end="hold"), 2), (Answer(503, {"Retry-After": "300"}), 0)]
)
async def test_another_task_may_close_a_stream_that_waits(
    api: Api, make_client: MakeClient, answer: Answer, count: int
) -> None:
    api.then(answer)
    received: list[Event] = []
    async with make_client(api.url, **QUICK) as client:
        events = client.stream(after=START)

        async def follow() -> None:
            async for event in events:
                received.append(event)  # noqa: PERF401  The test looks at it meanwhile.

        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(follow)
                await eventually(lambda: api.to() and len(received) == count)
                with pytest.raises(RuntimeError, match="Another task"):
                    await anext(events)
                await events.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(events)
    if answer.end == "hold":
        await eventually(api.left.is_set)


@pytest.mark.parametrize("flavour", ["asyncio", "trio"], indirect=True)
async def test_an_async_key_is_fetched_anew_by_a_stream(api: Api, make_client: MakeClient) -> None:
    keys = iter(["old", "new"])

    async def key() -> str:
        await anyio.lowlevel.checkpoint()
        return next(keys)

    api.then(Answer(401), stream(FRAMES[0], end="hold"))
    async with make_client(api.url, key, **QUICK) as client:
        assert numbers(await take(client.stream(after=START), 1)) == [0]
    assert [request.headers["authorization"] for request in api.to()] == ["Bearer old", "Bearer new"]


@pytest.mark.parametrize(
    "arguments",
    [{"after": IDS[0], "since": datetime.now(UTC)}, {"event_types": "invoice.paid"}],
)
def test_wrong_arguments_are_a_type_error(make_client: MakeClient, arguments: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        make_client("http://127.0.0.1:1").stream(**arguments)


def test_a_time_without_a_zone_is_a_value_error(make_client: MakeClient) -> None:
    with pytest.raises(ValueError, match="time zone"):
        make_client("http://127.0.0.1:1").stream(since=datetime(2026, 11, 1))


async def test_a_key_that_is_refused_at_once_opens_no_stream(api: Api, make_client: MakeClient) -> None:
    api.then(Answer(401))
    client = make_client(api.url, **QUICK)
    with pytest.raises(KeyRefused):
        async with client.stream() as events:
            await anext(events)


def test_a_message_without_an_end_is_an_error() -> None:
    following = Following(after=START, since=None, event_types=(), channel=None, backoff=Backoff())
    following.connected(0.0)
    with pytest.raises(ClientError, match="A message of the stream has more than"):
        while True:
            following.feed(b"x" * 1_000_000)


def test_of_many_events_the_last_thousands_are_remembered() -> None:
    following = Following(after=None, since=None, event_types=(), channel=None, backoff=Backoff())
    following.start(START)
    following.connected(0.0)
    first = event_of(0)
    for event in [first, *(event_of(number) for number in range(5000))]:
        following.feed(frame(event))
        assert following.take() is not None
        following.feed(frame(event))
        assert following.take() is None
    # So many events later, nothing sends it again but a server that was restored from a backup.
    following.feed(frame(first))
    assert following.take() is not None


async def test_an_error_whose_text_does_not_arrive_is_an_interruption(api: Api, make_client: MakeClient) -> None:
    api.then(Answer(500, {"Content-Length": "100"}, b"short"), Answer(401))
    retries: list[str] = []
    client = make_client(api.url, **QUICK)
    with pytest.raises(KeyRefused):
        async with client.stream(on_retry=lambda error, delay: retries.append(str(error))) as events:
            await anext(events)
    assert len(retries) == 1
    assert "cannot be reached" in retries[0]
