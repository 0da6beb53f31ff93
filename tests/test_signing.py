"""Signatures against the published vectors and the official libraries, and verification against hostile requests."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import standardwebhooks
import standardwebhooks.webhooks
from hypothesis import given, settings, strategies as st

from starlette_webhooks.signing import (
    VerificationError,
    generate_secret,
    parse_secret,
    sign,
    signature_headers,
    verify,
)

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
MESSAGE_ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
TIMESTAMP = 1614265330
BODY = b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="

VERIFY_IN_JAVASCRIPT = """
const { Webhook } = require("standardwebhooks");
const cases = JSON.parse(require("fs").readFileSync(0, "utf8"));
const outcomes = cases.map(({ secret, headers, body }) => {
  try { return { ok: true, data: new Webhook(secret).verify(body, headers) }; }
  catch (error) { return { ok: false, error: String(error) }; }
});
process.stdout.write(JSON.stringify(outcomes));
"""


def signed(**changes: str | None) -> dict[str, str]:
    headers = {"webhook-id": MESSAGE_ID, "webhook-timestamp": str(TIMESTAMP), "webhook-signature": SIGNATURE}
    changed = {**headers, **{name.replace("_", "-"): value for name, value in changes.items()}}
    return {name: value for name, value in changed.items() if value is not None}


def encoded(size: int) -> str:
    return "whsec_" + base64.b64encode(bytes(range(size))).decode()


@pytest.mark.parametrize(
    ("secret", "message_id", "timestamp", "body", "signature"),
    [
        (SECRET, MESSAGE_ID, TIMESTAMP, BODY, SIGNATURE),
        (
            "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
            "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
            1649367553,
            b'{"email":"test@example.com","username":"test_user"}',
            "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=",
        ),
    ],
)
def test_signatures_are_those_of_the_published_vectors(
    secret: str, message_id: str, timestamp: int, body: bytes, signature: str
) -> None:
    assert sign(parse_secret(secret), message_id, timestamp, body) == signature
    headers = signature_headers([parse_secret(secret)], message_id, timestamp, body)
    assert headers == [
        (b"webhook-id", message_id.encode()),
        (b"webhook-timestamp", str(timestamp).encode()),
        (b"webhook-signature", signature.encode()),
    ]
    verify(secret, headers, body, now=timestamp)


@settings(max_examples=50, deadline=None)
@given(st.binary(min_size=24, max_size=64), st.integers(0, 2**33), st.text())
def test_signatures_are_those_of_the_official_python_library(key: bytes, timestamp: int, text: str) -> None:
    secret = "whsec_" + base64.b64encode(key).decode()
    body = text.encode("utf-8", "replace")
    official = standardwebhooks.Webhook(secret).sign(MESSAGE_ID, datetime.fromtimestamp(timestamp, UTC), body.decode())
    assert sign(parse_secret(secret), MESSAGE_ID, timestamp, body) == official


@pytest.mark.parametrize("style", ["webhook", "both"])
def test_the_official_python_library_accepts_our_headers_while_a_secret_is_rotated(style: Any) -> None:
    old, new = generate_secret(), generate_secret()
    now = int(datetime.now(UTC).timestamp())
    headers = signature_headers([parse_secret(new), parse_secret(old)], MESSAGE_ID, now, BODY, style)
    as_text = {name.decode(): value.decode() for name, value in headers}
    for secret in (old, new):
        assert standardwebhooks.Webhook(secret).verify(BODY, as_text) == {"test": 2432232314}
    with pytest.raises(standardwebhooks.webhooks.WebhookVerificationError):
        standardwebhooks.Webhook(generate_secret()).verify(BODY, as_text)


def test_the_library_of_svix_accepts_our_headers() -> None:
    svix_webhooks = pytest.importorskip("svix.webhooks")
    secret = generate_secret()
    now = int(datetime.now(UTC).timestamp())
    headers = signature_headers([parse_secret(secret)], MESSAGE_ID, now, BODY, "svix")
    as_text = {name.decode(): value.decode() for name, value in headers}
    assert set(as_text) == {"svix-id", "svix-timestamp", "svix-signature"}
    svix_webhooks.Webhook(secret).verify(BODY, as_text)
    with pytest.raises(svix_webhooks.WebhookVerificationError):
        svix_webhooks.Webhook(secret).verify(BODY + b" ", as_text)


@pytest.fixture(scope="session")
def javascript(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory in which node finds the official JavaScript library."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        pytest.skip("node and npm are not installed")
    directory = tmp_path_factory.mktemp("javascript")
    command = [npm, "install", "--prefix", str(directory), "--no-audit", "--no-fund", "standardwebhooks@1"]
    try:
        subprocess.run(command, capture_output=True, text=True, timeout=40, check=True)
    except subprocess.SubprocessError as exc:
        pytest.skip(f"npm cannot install standardwebhooks: {exc}")
    return directory


def test_the_official_javascript_library_accepts_our_headers(javascript: Path) -> None:
    now = int(datetime.now(UTC).timestamp())
    cases: list[dict[str, Any]] = []
    for number in range(60):
        body = json.dumps({"n": number, "text": "ß😀\u2028" * number, "q": '"\\'}, ensure_ascii=number % 2 == 0)
        keys = [os.urandom(24 + number % 41) for _ in range(1 + number % 3)]
        headers = signature_headers(keys, f"msg_{number}", now, body.encode())
        secret = "whsec_" + base64.b64encode(keys[-1]).decode()
        as_text = {name.decode(): value.decode() for name, value in headers}
        cases.append({"secret": secret, "headers": as_text, "body": body})
        cases.append({"secret": secret, "headers": as_text, "body": body + " "})
    script = javascript / "verify.js"
    script.write_text(VERIFY_IN_JAVASCRIPT)
    ran = subprocess.run(
        ["node", str(script)], input=json.dumps(cases), capture_output=True, text=True, timeout=30, check=True
    )
    outcomes = json.loads(ran.stdout)
    assert [outcome["ok"] for outcome in outcomes] == [True, False] * 60
    assert [outcome["data"] for outcome in outcomes[::2]] == [json.loads(case["body"]) for case in cases[::2]]


def test_generated_secrets_are_32_random_bytes() -> None:
    secrets = {generate_secret() for _ in range(100)}
    assert len(secrets) == 100
    assert all(secret.startswith("whsec_") and len(parse_secret(secret)) == 32 for secret in secrets)


@pytest.mark.parametrize("size", [24, 25, 26, 32, 63, 64])
def test_secrets_parse_with_and_without_prefix_and_padding(size: int) -> None:
    secret = encoded(size)
    for text in (secret, secret.rstrip("="), secret.removeprefix("whsec_"), secret.removeprefix("whsec_").rstrip("=")):
        assert parse_secret(text) == bytes(range(size))


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("", "24 to 64 random bytes"),
        ("whsec_", "24 to 64 random bytes"),
        ("whsec_YQ==", "has 1 bytes"),
        (encoded(23), "has 23 bytes"),
        (encoded(65), "has 65 bytes"),
        (encoded(32) + "\n", "without spaces or line breaks"),
        (" " + encoded(32), "without spaces or line breaks"),
        ("whsec_" + "é" * 40, "base64"),
        ("whsec_" + "-_" * 20, "base64"),
        ("whsec_" + "A" * 41, "truncated"),
        ("whsk_" + base64.b64encode(bytes(64)).decode(), "whsec_"),
        ("whsec_" + "A" * 43 + "===", "base64"),
    ],
)
def test_other_secrets_are_refused_with_the_remedy(text: str, remedy: str) -> None:
    with pytest.raises(ValueError, match=remedy):
        parse_secret(text)


def test_nothing_is_signed_without_a_key_or_with_an_ambiguous_id() -> None:
    with pytest.raises(ValueError, match="at least one key"):
        signature_headers([], MESSAGE_ID, TIMESTAMP, BODY)
    with pytest.raises(ValueError, match="full stop"):
        sign(parse_secret(SECRET), "msg.1", TIMESTAMP, BODY)


@pytest.mark.parametrize(
    "headers",
    [
        {name.upper(): value for name, value in signed().items()},
        {name.replace("webhook", "svix"): value for name, value in signed().items()},
        list(signed().items()),
        [(name.title().encode(), value.encode()) for name, value in signed().items()],
        signed(webhook_signature=f"v1,AAAA {SIGNATURE}"),
        signed(webhook_signature=f"v2,{SIGNATURE[3:]} v1a,xyz nocomma  {SIGNATURE} v1,"),
        {**signed(), "svix-id": "msg_else", "svix-timestamp": "x"},
        {**signed(), "x-other": "\udcff"},
    ],
)
def test_genuine_webhooks_are_accepted_in_every_usual_form(headers: Any) -> None:
    verify(SECRET, headers, BODY, now=TIMESTAMP)
    verify([generate_secret(), SECRET], headers, BODY, now=TIMESTAMP)
    verify(parse_secret(SECRET), headers, BODY, now=TIMESTAMP)


def genuine_for(message_id: str, timestamp: str) -> str:
    """Return a matching signature, so that the request is refused only for its form."""
    content = f"{message_id}.{timestamp}.".encode("utf-8", "surrogateescape") + BODY
    digest = hmac.new(parse_secret(SECRET), content, hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode()


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({}, "are required"),
        (signed(webhook_id=None), "are required"),
        (signed(webhook_timestamp=None), "are required"),
        (signed(webhook_signature=None), "are required"),
        (signed(webhook_id=None) | {"svix-id": MESSAGE_ID}, "are required"),
        (signed(webhook_id=""), "id of the webhook is malformed"),
        (signed(webhook_id="msg.1"), "id of the webhook is malformed"),
        (signed(webhook_id="msg é"), "id of the webhook is malformed"),
        (signed(webhook_id="m" * 513), "id of the webhook is malformed"),
        (signed(webhook_id="msg_other"), "matches"),
        *(
            (signed(webhook_timestamp=text, webhook_signature=genuine_for(MESSAGE_ID, text)), "whole number")
            for text in ("", "soon", f"{TIMESTAMP}.0", f"-{TIMESTAMP}", f" {TIMESTAMP}", "1_614_265_330", "nan", "1e9")
        ),
        (signed(webhook_timestamp="٤٢"), "whole number"),
        (signed(webhook_timestamp="9" * 400), "whole number"),
        (signed(webhook_timestamp=str(TIMESTAMP + 1)), "matches"),
        (signed(webhook_signature=""), "matches"),
        (signed(webhook_signature="v1"), "matches"),
        (signed(webhook_signature="v1,"), "matches"),
        (signed(webhook_signature=","), "matches"),
        (signed(webhook_signature=SIGNATURE.removeprefix("v1,")), "matches"),
        (signed(webhook_signature="v2," + SIGNATURE[3:]), "matches"),
        (signed(webhook_signature="v1a," + SIGNATURE[3:]), "matches"),
        (signed(webhook_signature=SIGNATURE[:-5]), "matches"),
        (signed(webhook_signature=SIGNATURE + "="), "matches"),
        (signed(webhook_signature=SIGNATURE + ",v1"), "matches"),
        (signed(webhook_signature="v1,\xe9"), "malformed"),
        (signed(webhook_signature=SIGNATURE + " v1,\udcff"), "malformed"),
        ([*signed().items(), ("webhook-id", MESSAGE_ID)], "more than once"),
        ([*signed().items(), ("Webhook-Timestamp", str(TIMESTAMP))], "more than once"),
        ([*signed().items(), (b"WEBHOOK-SIGNATURE", SIGNATURE.encode())], "more than once"),
        (signed() | {"webhook-signature": [SIGNATURE]}, "neither text nor bytes"),
        ([(name.encode(), value.encode() + b"\xff") for name, value in signed().items()], "malformed"),
    ],
)
def test_every_hostile_request_is_refused_with_a_verification_error(headers: Any, reason: str) -> None:
    with pytest.raises(VerificationError, match=reason):
        verify(SECRET, headers, BODY, now=TIMESTAMP)


def test_a_changed_body_or_another_secret_is_refused() -> None:
    verify(SECRET, signed(), BODY, now=TIMESTAMP)
    for body in (BODY + b" ", BODY[:-1], b"", b"\xff\xfe"):
        with pytest.raises(VerificationError):
            verify(SECRET, signed(), body, now=TIMESTAMP)
    with pytest.raises(VerificationError):
        verify(generate_secret(), signed(), BODY, now=TIMESTAMP)


def test_the_timestamp_may_differ_by_at_most_the_tolerance() -> None:
    for now in (TIMESTAMP - 300, TIMESTAMP + 300):
        verify(SECRET, signed(), BODY, now=now)
    with pytest.raises(VerificationError, match="too old"):
        verify(SECRET, signed(), BODY, now=TIMESTAMP + 301)
    with pytest.raises(VerificationError, match="too new"):
        verify(SECRET, signed(), BODY, now=TIMESTAMP - 301)
    with pytest.raises(VerificationError, match="too old"):
        verify(SECRET, signed(), BODY)
    verify(SECRET, signed(), BODY, now=TIMESTAMP + 301, tolerance=400)


def test_mistakes_of_the_caller_are_no_verification_errors() -> None:
    with pytest.raises(TypeError, match="raw bytes"):
        verify(SECRET, signed(), BODY.decode(), now=TIMESTAMP)  # type: ignore[arg-type]
    mistakes: list[str | bytes | list[str]] = ["whsec_YQ==", [], b""]
    for secret in mistakes:
        with pytest.raises(ValueError) as caught:
            verify(secret, signed(), BODY, now=TIMESTAMP)
        assert not isinstance(caught.value, VerificationError)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.text(), st.text() | st.binary())),
    st.dictionaries(st.sampled_from(sorted(signed())), st.text()),
)
def test_no_headers_at_all_raise_anything_but_a_verification_error(
    noise: list[tuple[str, str | bytes]], changes: dict[str, str]
) -> None:
    headers: list[tuple[str | bytes, str | bytes]] = [*(signed() | changes).items(), *noise]
    try:
        verify(SECRET, headers, BODY, now=TIMESTAMP)
    except VerificationError:
        return
    assert all(signed()[name] == value for name, value in changes.items() if name != "webhook-signature")
