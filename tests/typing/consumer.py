"""What type checkers know of the client and of receiving. Checked by `test_typing.py`, never run."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, assert_type

from fastapi import Depends
from starlette.requests import Request

from starlette_webhooks.client import (
    APIError,
    Attempt,
    Client,
    ClientError,
    Endpoint,
    Event,
    EventStream,
    EventType,
    Gap,
    SyncClient,
    SyncEventStream,
)
from starlette_webhooks.receiving import MemorySeenIds, ReceivedWebhook, SeenIds, SQLiteSeenIds, WebhookReceiver

URL = "https://api.example.com/api/v1/webhooks"
NOW = datetime.now(UTC)


async def fetch_key() -> str:
    return "sk_1"


def note(error: ClientError | None, delay: float) -> None:
    pass


async def consume(saved: str | None) -> None:
    for key in ("sk_1", lambda: "sk_1", fetch_key, None):
        Client(URL, key)
    async with Client(URL, key=fetch_key, max_delay=5, timeout=1.5) as client:
        assert_type(client, Client)
        stream = client.stream(after=saved, event_types=["invoice.paid"], channel="eu", on_retry=note)
        assert_type(stream, EventStream)
        assert_type(stream.last_event_id, str | None)
        try:
            async for event in stream:
                assert_type(event, Event)
                assert_type(event.id, str)
                assert_type(event.payload, dict[str, Any])
                assert_type(event.timestamp, datetime)
        except Gap as gap:
            assert_type(gap.requested, str)
            assert_type(gap.oldest, str | None)
        except APIError as exc:
            assert_type((exc.status_code, exc.code, exc.retry_after), tuple[int, str, float])
        async with client.stream(since=NOW) as entered:
            assert_type(await anext(entered), Event)
        assert_type([event async for event in client.list(after=NOW, before=NOW)], list[Event])
        assert_type(await client.get("msg_1"), Event)
        assert_type(await client.test("invoice.paid", {"amount": 1}, endpoint="ep_1"), Event)
        assert_type(await client.event_types(), Sequence[EventType])
        assert_type(await client.create_endpoint("https://example.com", event_types=["invoice.paid"]), Endpoint)
        assert_type([endpoint async for endpoint in client.endpoints()], list[Endpoint])
        assert_type([attempt async for attempt in client.attempts(endpoint="ep_1", status="fail")], list[Attempt])
        assert_type(await client.recover("ep_1", NOW, missing=True), int)


def consume_sync() -> None:
    with SyncClient(URL, lambda: "sk_1") as client:
        assert_type(client, SyncClient)
        stream = client.stream(after="msg_1", on_retry=note)
        assert_type(stream, SyncEventStream)
        for event in stream:
            assert_type(event, Event)
        assert_type(list(client.list()), list[Event])
        assert_type(list(client.attempts(event="msg_1")), list[Attempt])
        assert_type(client.get("msg_1").data, Any)


receiver = WebhookReceiver(["whsec_1", "whpk_1"], seen=MemorySeenIds(), tolerance=60)
assert_type(receiver, WebhookReceiver)
stores: list[SeenIds] = [MemorySeenIds(), SQLiteSeenIds("seen.db")]


async def receive(request: Request) -> None:
    async with receiver.receive(request) as webhook:
        assert_type(webhook, ReceivedWebhook)
        assert_type(webhook.event_type, str)
    async with receiver.handle({"webhook-id": "msg_1"}, b"{}") as handled:
        assert_type(handled, ReceivedWebhook)
    assert_type(receiver.verify([(b"webhook-id", b"msg_1")], b"{}"), ReceivedWebhook)


async def receive_in_fastapi(webhook: Annotated[ReceivedWebhook, Depends(receiver.dependency)]) -> None:
    assert_type(webhook.payload, dict[str, Any])


# Wrong uses. Both checkers fail if one of these is not an error.


async def wrong(client: Client, sync: SyncClient, event: Event) -> None:
    SyncClient(URL, fetch_key)  # type: ignore[arg-type]
    Client(URL, 7)  # type: ignore[arg-type]
    client.stream(after=7)  # type: ignore[arg-type]
    client.stream(since="1h")  # type: ignore[arg-type]
    client.stream("msg_1")  # type: ignore[call-arg]
    client.attempts(status="failed")  # type: ignore[arg-type]
    await client.recover("ep_1", "yesterday")  # type: ignore[arg-type]
    sync.stream(on_retry=lambda error: None)  # type: ignore[arg-type, misc]
    event.payload = {}  # type: ignore[misc]
    print(event.type)  # type: ignore[attr-defined]
    WebhookReceiver(b"whsec_1")  # type: ignore[arg-type]
    WebhookReceiver("whsec_1", seen=set())  # type: ignore[arg-type]
    list(client.list())  # type: ignore[call-overload]
