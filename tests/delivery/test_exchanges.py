"""The headers of attempts as they are stored: masked, and of a limited size."""

from __future__ import annotations

import json

from starlette_webhooks.attempts import MASK
from starlette_webhooks.delivery.exchanges import encode_headers


def test_values_of_custom_headers_are_masked() -> None:
    sent = [
        (b"content-type", b"application/json"),
        (b"user-agent", b"starlette-webhooks/1"),
        (b"authorization", b"Bearer hunter2"),
        (b"content-language", b"hunter2"),
        (b"user-agent-key", b"hunter2"),
        (b"webhook-id", b"msg_1"),
        (b"svix-id", b"msg_1"),
    ]
    text = encode_headers(sent, [(b"Server", b"caf\xe9"), (b"x-nul", b"a\x00b")])
    assert "hunter2" not in text
    found = json.loads(text)
    assert [value for _, value in found["request"]] == [
        "application/json",
        "starlette-webhooks/1",
        MASK,
        MASK,
        MASK,
        "msg_1",
        "msg_1",
    ]
    assert found["response"] == [["Server", "café"], ["x-nul", "ab"]]


def test_large_headers_are_cut() -> None:
    found = json.loads(encode_headers([], [(b"x-long", b"a" * 10_000)] * 100))
    assert found["response"] == [["x-long", "a" * 512 + "…"]] * 3
