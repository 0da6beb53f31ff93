"""Signatures with ed25519: the test vector of another implementation, keys, rotation, and every error."""

from __future__ import annotations

import base64
import sys
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from starlette_webhooks.asymmetric import SigningKey, generate_signing_key
from starlette_webhooks.signing import VerificationError, parse_secret, signature_headers, verify
from tests.delivery.delivering import delivering
from tests.hosts import MOUNT, make_app, make_webhooks
from tests.receivers import Receiver, receiving
from tests.settings import make_settings

# From the tests of svix-server (`worker.rs`, `test_asymmetric_key_signing`).
KEY = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
ID, TIMESTAMP, BODY = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
SIGNATURE = "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="
PUBLIC = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="

OTHER = generate_signing_key()
SECRET = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"
HEADERS = {"webhook-id": ID, "webhook-timestamp": str(TIMESTAMP), "webhook-signature": SIGNATURE}


def test_the_vector_of_svix_is_signed_and_verified() -> None:
    key = SigningKey(KEY)
    assert key.public_key == PUBLIC
    assert key.sign(b"%s.%d.%s" % (ID.encode(), TIMESTAMP, BODY)).decode() == SIGNATURE
    verify(PUBLIC, HEADERS, BODY, now=TIMESTAMP)


def test_the_seed_alone_is_the_same_key() -> None:
    seed = base64.b64encode(base64.b64decode(KEY.removeprefix("whsk_"))[:32]).decode()
    assert SigningKey(f"whsk_{seed}").public_key == PUBLIC


@pytest.mark.parametrize(
    ("changes", "body"),
    [
        ({}, BODY + b" "),
        ({"webhook-id": "msg_other"}, BODY),
        ({"webhook-timestamp": str(TIMESTAMP + 1)}, BODY),
        ({"webhook-signature": "v1a," + base64.b64encode(bytes(64)).decode()}, BODY),
        ({"webhook-signature": "v1a,@@@"}, BODY),
        ({"webhook-signature": SIGNATURE.replace("v1a,", "v1,")}, BODY),
        ({"webhook-signature": SIGNATURE.removeprefix("v1a,")}, BODY),
        ({"webhook-signature": SIGNATURE[:-4]}, BODY),
    ],
)
def test_a_changed_message_does_not_verify(changes: dict[str, str], body: bytes) -> None:
    with pytest.raises(VerificationError):
        verify(PUBLIC, {**HEADERS, **changes}, body, now=TIMESTAMP)


def test_another_key_does_not_verify_and_one_of_several_is_enough() -> None:
    other = SigningKey(OTHER).public_key
    with pytest.raises(VerificationError):
        verify([other, SECRET], HEADERS, BODY, now=TIMESTAMP)
    verify([other, SECRET, PUBLIC], HEADERS, BODY, now=TIMESTAMP)


def test_a_message_may_carry_both_versions_and_each_key_verifies_its_own() -> None:
    keys = [SigningKey(KEY), SigningKey(OTHER)]
    headers = signature_headers([parse_secret(SECRET)], ID, TIMESTAMP, BODY, signing_keys=keys)
    versions = [part.partition(b",")[0] for part in dict(headers)[b"webhook-signature"].split(b" ")]
    assert versions == [b"v1", b"v1a", b"v1a"]
    for accepted in (SECRET, *(key.public_key for key in keys)):
        verify(accepted, headers, BODY, now=TIMESTAMP)


@pytest.mark.parametrize(
    "text", ["", "x", SECRET, PUBLIC, "whsk_", "whsk_@", "whsk_QUJD", KEY[:-4] + "AA==", KEY.replace("6Xb", "7Xb")]
)
def test_an_invalid_key_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        SigningKey(text)
    assert not text or len(text) < 8 or text not in str(caught.value)


@pytest.mark.parametrize("text", ["whpk_", "whpk_QUJD", "whpk_@", KEY])
def test_an_invalid_public_key_is_an_error_of_the_caller(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        verify(text, HEADERS, BODY, now=TIMESTAMP)
    assert not isinstance(caught.value, VerificationError)


def test_a_key_is_not_in_its_repr() -> None:
    assert repr(SigningKey(KEY)) == f"SigningKey({PUBLIC!r})"
    settings = make_settings(signing_key=KEY)
    assert KEY not in repr(settings)


def test_without_the_package_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.asymmetric.ed25519", None)
    for call in (generate_signing_key, lambda: SigningKey(KEY)):
        with pytest.raises(ValueError, match="pip install cryptography"):
            call()


def test_the_public_keys_need_no_authentication(tmp_path: Path) -> None:
    webhooks = make_webhooks(make_settings(tmp_path, signing_key=f"{KEY},{OTHER}"))
    with TestClient(make_app(webhooks)) as client:
        answer = client.get(f"{MOUNT}/jwks.json")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "public, max-age=300"
    first, second = answer.json()["keys"]
    assert first["x"] == base64.urlsafe_b64encode(base64.b64decode(PUBLIC.removeprefix("whpk_"))).decode().rstrip("=")
    assert (first["kty"], first["crv"], first["alg"], first["use"]) == ("OKP", "Ed25519", "EdDSA", "sig")
    assert first["kid"] != second["kid"]
    assert "d" not in first


def test_the_id_of_a_key_is_its_thumbprint() -> None:
    # RFC 8037, appendices A.2 and A.3.
    seed = base64.urlsafe_b64decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=")
    jwk = SigningKey("whsk_" + base64.b64encode(seed).decode()).jwk()
    assert jwk["x"] == "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
    assert jwk["kid"] == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


@pytest.mark.parametrize("options", [{}, {"svix_api_key": "testsk_x", "svix_server_url": "http://127.0.0.1:9"}])
def test_there_are_no_keys_if_deliveries_have_no_such_signatures(tmp_path: Path, options: dict[str, Any]) -> None:
    key = {"signing_key": KEY} if options else {}
    webhooks = make_webhooks(make_settings(tmp_path, **options, **key))
    with TestClient(make_app(webhooks)) as client:
        assert client.get(f"{MOUNT}/jwks.json").json() == {"keys": []}


@pytest.fixture
def receiver() -> Any:
    """A receiver that answers 200."""
    with receiving() as running:
        yield running


async def test_deliveries_have_a_signature_of_each_key_and_of_the_secret(receiver: Receiver, tmp_path: Path) -> None:
    async with delivering(make_settings(tmp_path, signing_key=f"{KEY}, {OTHER}")) as deliverer:
        endpoint = await deliverer.endpoint(receiver.url)
        await deliverer.emit()
        await deliverer.attempted(1)
        secret = await deliverer.store.get_secret("acme", endpoint.id)
    (request,) = receiver.requests
    assert secret is not None
    for accepted in (secret, PUBLIC, SigningKey(OTHER).public_key):
        verify(accepted, request.headers, request.body)
