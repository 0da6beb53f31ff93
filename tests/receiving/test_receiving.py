"""Webhooks that an app receives, in each framework: verified, and handled once."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, given, settings as hypothesis_settings, strategies as st

from starlette_webhooks.asymmetric import SigningKey, generate_signing_key
from starlette_webhooks.receiving import (
    AlreadyHandled,
    BeingHandled,
    BodyTooLarge,
    MemorySeenIds,
    WebhookReceiver,
    WebhookRefused,
)
from starlette_webhooks.signing import HeaderStyle, generate_secret, parse_secret, signature_headers
from tests.receiving.apps import FRAMEWORKS, Handled, make_app

SECRET = generate_secret()
BODY = json.dumps({"type": "invoice.paid", "timestamp": "2026-11-23T21:50:00.000Z", "data": {"amount": 1}}).encode()
Pairs = list[tuple[bytes, bytes]]


def signed(
    body: bytes = BODY,
    *,
    identifier: str = "msg_1",
    secret: str = SECRET,
    age: float = 0,
    style: HeaderStyle = "webhook",
    keys: Iterable[SigningKey] = (),
) -> Pairs:
    moment = int(time.time() - age)
    return signature_headers([parse_secret(secret)], identifier, moment, body, style, signing_keys=list(keys))


async def call(app: Any, headers: Pairs, body: bytes = BODY) -> int:
    """The status of the answer. Below an HTTP client, which would not send all that a stranger can."""
    statuses: list[int] = []
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop()
        await anyio.sleep_forever()
        raise AssertionError

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/hook",
        "raw_path": b"/hook",
        "root_path": "",
        "query_string": b"",
        "headers": [(b"host", b"test"), (b"content-type", b"application/json"), *headers],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "state": {},
    }
    await app(scope, receive, send)
    return statuses[0]


@pytest.fixture(params=list(FRAMEWORKS))
def framework(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("style", ["webhook", "svix", "both"])
async def test_a_genuine_webhook_reaches_the_code_of_the_host(framework: str, style: HeaderStyle) -> None:
    handled = Handled()
    app = make_app(framework, WebhookReceiver(SECRET), handled)
    assert await call(app, signed(style=style)) == 204
    assert len(handled.webhooks) == 1
    if framework != "litestar guard":
        (webhook,) = handled.webhooks
        assert (webhook.id, webhook.event_type, webhook.data) == ("msg_1", "invoice.paid", {"amount": 1})
        assert (webhook.body, webhook.test) == (BODY, False)
        assert abs(webhook.timestamp.timestamp() - time.time()) < 10


@pytest.mark.parametrize(
    ("make_headers", "body"),
    [
        (list, BODY),
        (lambda: signed(secret=generate_secret()), BODY),
        (lambda: signed(), BODY + b" "),
        (lambda: signed(age=301), BODY),
        (lambda: signed(age=-310), BODY),
        (lambda: signed(b"[]"), b"[]"),
        (lambda: signed(b"{"), b"{"),
        (lambda: signed(b"[" * 100_000), b"[" * 100_000),
        (lambda: signed()[:2], BODY),
        (lambda: [*signed(), (b"Webhook-Id", b"msg_2")], BODY),
    ],
    ids=["none", "other secret", "changed", "old", "future", "list", "cut", "deep", "unsigned", "two ids"],
)
async def test_anything_else_is_400_and_does_not_reach_it(
    framework: str, make_headers: Callable[[], Pairs], body: bytes
) -> None:
    handled = Handled()
    # Made now, because signatures are valid for five minutes.
    assert await call(make_app(framework, WebhookReceiver(SECRET), handled), make_headers(), body) == 400
    assert handled.webhooks == []


async def test_a_large_body_is_413(framework: str) -> None:
    body = b'{"type":"' + b"x" * 200 + b'"}'
    app = make_app(framework, WebhookReceiver(SECRET, max_bytes=200), Handled())
    assert await call(app, signed(body), body) == 413


async def test_each_of_several_secrets_and_public_keys_is_accepted(framework: str) -> None:
    key, old, new = SigningKey(generate_signing_key()), generate_secret(), generate_secret()
    rotated = make_app(framework, WebhookReceiver([new, old]), Handled())
    assert [await call(rotated, signed(secret=secret)) for secret in (old, new, SECRET)] == [204, 204, 400]
    public = make_app(framework, WebhookReceiver(key.public_key), Handled())
    assert [await call(public, signed(keys=keys)) for keys in ([key], [])] == [204, 400]


@cache
def fuzzed_app(framework: str) -> tuple[Any, Handled]:
    """An app for many requests."""
    handled = Handled()
    key = SigningKey(generate_signing_key())
    return make_app(framework, WebhookReceiver([SECRET, key.public_key]), handled), handled


_NAMES = st.sampled_from([b"webhook-id", b"webhook-timestamp", b"webhook-signature", b"svix-id", b"svix-signature"])
_VALUES = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([b"v1,", b"v1a,", b"v1a," + b"A" * 88, b"-1", b"9" * 15, b"1e3", b"\xff", b"msg_1", b"a.b"]),
)


@hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(_NAMES, _VALUES), max_size=6), st.booleans())
def test_whatever_headers_a_stranger_sends_the_answer_is_400(
    framework: str, headers: Pairs, keeps_signature: bool
) -> None:
    app, handled = fuzzed_app(framework)
    beginning = signed(secret=generate_secret()) if keeps_signature else []
    assert anyio.run(call, app, [*beginning, *headers]) == 400
    assert handled.webhooks == []


@pytest.mark.parametrize("framework", [name for name in FRAMEWORKS if name != "litestar guard"], indirect=True)
async def test_each_webhook_is_handled_once_unless_handling_fails(framework: str) -> None:
    handled = Handled(fails=True)
    app = make_app(framework, WebhookReceiver(SECRET, seen=MemorySeenIds()), handled)
    # Starlette answers 500, and raises the error again for the server.
    with suppress(LookupError):
        assert await call(app, signed()) == 500
    handled.fails = False
    assert [await call(app, signed()) for _ in range(3)] == [204, 200, 200]
    assert await call(app, signed(identifier="msg_2")) == 204
    assert [webhook.id for webhook in handled.webhooks] == ["msg_1", "msg_2"]


async def test_a_webhook_that_is_being_handled_is_refused_until_the_end_or_the_lease() -> None:
    now = time.time()
    receiver = WebhookReceiver(SECRET, seen=MemorySeenIds(), lease=30, keep=100, tolerance=1000, clock=lambda: now)
    async with receiver.handle(signed(), BODY):
        with pytest.raises(BeingHandled) as raised:
            async with receiver.handle(signed(), BODY):
                raise AssertionError
        assert (raised.value.status_code, raised.value.headers) == (409, {"Retry-After": "30"})
        now += 31
        # As if the process of the first had been killed.
        async with receiver.handle(signed(), BODY):
            pass
    with pytest.raises(AlreadyHandled):
        async with receiver.handle(signed(), BODY):
            raise AssertionError
    now += 101
    async with receiver.handle(signed(), BODY):
        pass


async def test_a_cancelled_request_has_not_handled_its_webhook() -> None:
    receiver = WebhookReceiver(SECRET, seen=MemorySeenIds())
    with anyio.CancelScope() as scope:
        async with receiver.handle(signed(), BODY):
            scope.cancel()
            await anyio.sleep_forever()
    async with receiver.handle(signed(), BODY) as webhook:
        assert webhook.id == "msg_1"


@pytest.mark.parametrize("secret", ["", "whsec_short", "whpk_short", []])
def test_a_wrong_secret_is_a_value_error_at_once(secret: Any) -> None:
    with pytest.raises(ValueError):
        WebhookReceiver(secret)


def test_headers_may_be_a_mapping() -> None:
    headers = {name.decode(): value.decode() for name, value in signed()}
    assert WebhookReceiver(SECRET).verify(headers, BODY).id == "msg_1"
    with pytest.raises(WebhookRefused):
        WebhookReceiver(SECRET).verify({}, BODY)
    with pytest.raises(BodyTooLarge):
        WebhookReceiver(SECRET, max_bytes=1).verify(headers, BODY)
