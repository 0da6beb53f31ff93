"""A customer's bodies cost others little time on the event loop, and have short error messages."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from starlette.types import ASGIApp, Message

from starlette_webhooks import EventType, Webhooks
from starlette_webhooks.settings import WebhooksSettings
from starlette_webhooks.testing import MemoryBackend
from tests.hosts import MOUNT, bearer, make_app, make_webhooks

# Bodies for which `jsonschema` needed up to a minute. The limits allow for a slow, busy machine.
MOST_SECONDS = 0.04
EVENT_TYPES = [
    EventType("unique", schema={"properties": {"xs": {"uniqueItems": True}}}),
    EventType("nested.quantifier", schema={"properties": {"x": {"pattern": "^(a+)+$"}}}),
    EventType("back.reference", schema={"properties": {"x": {"pattern": r"^((a|aa)+)\1$"}}}),
    *(EventType(f"{'t' * 240}.n{number}") for number in range(300)),
]


def body(event_type: str, data: Any) -> bytes:
    return json.dumps({"eventType": event_type, "data": data}).encode()


ATTACKS = {
    "2000 objects that are unique": (202, body("unique", {"xs": [{"i": number} for number in range(2000)]})),
    "objects of which one is there twice": (422, body("unique", {"xs": [{"i": n} for n in range(2500)] + [{"i": 0}]})),
    "numbers of which one is there twice": (422, body("unique", {"xs": [*range(5500), 1]})),
    "lists that are the same": (422, body("unique", {"xs": [[]] * 8000})),
    "a pattern that backtracks": (422, body("nested.quantifier", {"x": "a" * 32_000 + "!"})),
    "a pattern with a back reference": (422, body("back.reference", {"x": "a" * 32_000 + "!"})),
    "300 levels": (422, b'{"data": ' + b'{"a":' * 300 + b"1" + b"}" * 300 + b"}"),
    "100000 levels": (413, b'{"data": ' + b'{"a":' * 100_000),
    "a megabyte": (413, body("unique", {"xs": list(range(150_000))})),
    "a long name nearly right": (422, body("t" * 256, {})),
    "thousands of fields": (422, json.dumps({f"f{number}": 1 for number in range(2200)}).encode()),
    "a long name of a field": (422, json.dumps({"x" * 30_000: 1}).encode()),
}
WRONG_DELIVERIES = {
    "of endpoints": {str(number): 0 for number in range(10_000)},
    "of events": {f"ep_{number:027}": [0] * 250 for number in range(150)},
    "without events": {f"ep_{number:027}": [] for number in range(3000)},
}


@pytest.fixture
def webhooks(settings: WebhooksSettings) -> Webhooks:
    return make_webhooks(settings, event_types=EVENT_TYPES, backend=MemoryBackend(settings))


async def post(app: ASGIApp, route: str, content: bytes) -> tuple[int, bytes]:
    """Make one request without a client, whose own work would also count. Bodies come in pieces, as from servers."""
    pieces = [content[at : at + 65_536] for at in range(0, len(content), 65_536)]
    received = iter([{"type": "http.request", "body": piece, "more_body": True} for piece in pieces])
    sent: list[Message] = []

    async def receive() -> Message:
        return next(received, {"type": "http.request", "body": b"", "more_body": False})

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(name.lower().encode(), value.encode()) for name, value in bearer("acme").items()]
    path = f"{MOUNT}{route}"
    scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": headers, "state": {}}
    await app({**scope, "raw_path": path.encode(), "root_path": "", "scheme": "http"}, receive, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent)


@pytest.mark.parametrize(("status", "content"), ATTACKS.values(), ids=ATTACKS)
async def test_a_hostile_body_costs_little(webhooks: Webhooks, status: int, content: bytes) -> None:
    await attack(webhooks, "/test", status, content)


@pytest.mark.parametrize("deliveries", WRONG_DELIVERIES.values(), ids=WRONG_DELIVERIES)
async def test_thousands_of_wrong_deliveries_to_retry_cost_little(webhooks: Webhooks, deliveries: Any) -> None:
    await attack(webhooks, "/undelivered/retry", 422, json.dumps({"deliveries": deliveries}).encode())


async def attack(webhooks: Webhooks, route: str, status: int, content: bytes) -> None:
    app = make_app(webhooks)
    spent = []
    async with webhooks.lifespan():
        for _ in range(4):
            began = time.thread_time()
            answered, answer = await post(app, route, content)
            spent.append(time.thread_time() - began)
            assert answered == status
            assert status == 202 or len(answer) < 1000
    assert min(spent) < MOST_SECONDS
