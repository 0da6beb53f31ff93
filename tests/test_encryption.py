"""Sealing and opening secrets."""

from __future__ import annotations

import sys

import pytest

from starlette_webhooks.encryption import NOT_ENCRYPTED, CannotDecrypt, SecretBox

OLD, NEW = b"o" * 32, b"n" * 40
SECRET = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"
HEADERS = {"Authorization": "Bearer s3cret", "X-Ü": "é"}


def test_a_sealed_text_can_be_opened_and_is_unreadable() -> None:
    box = SecretBox([NEW])
    sealed = box.seal_secret(SECRET, "acme")
    assert SECRET not in sealed
    assert " " not in sealed
    assert box.open_secret(sealed, "acme") == SECRET
    assert box.seal_secret(SECRET, "acme") != sealed
    headers = box.seal_headers(HEADERS, "acme")
    assert "s3cret" not in str(headers)
    assert "Authorization" not in str(headers)
    assert box.open_headers(headers, "acme") == HEADERS
    assert box.open_key(box.seal_key(b"\x00key")) == b"\x00key"


def test_a_sealed_text_is_valid_for_its_tenant_and_kind_only() -> None:
    box = SecretBox([NEW])
    sealed = box.seal_secret(SECRET, "acme")
    with pytest.raises(CannotDecrypt, match="belongs to another tenant"):
        box.open_secret(sealed, "globex")
    with pytest.raises(CannotDecrypt):
        box.open_headers({"": sealed}, "acme")


def test_no_character_of_a_sealed_text_can_be_changed() -> None:
    box = SecretBox([NEW])
    sealed = box.seal_secret(SECRET, "acme")
    for index in range(len("sealed1."), len(sealed)):
        changed = sealed[:index] + ("A" if sealed[index] != "A" else "B") + sealed[index + 1 :]
        try:
            opened = box.open_secret(changed, "acme")
        except CannotDecrypt:
            continue
        # The last character of base64 has unused bits.
        assert opened == SECRET
        assert index >= len(sealed) - 3


def test_the_first_key_seals_and_each_opens() -> None:
    before, both, after = SecretBox([OLD]), SecretBox([NEW, OLD]), SecretBox([NEW])
    old, new = before.seal_secret(SECRET, "acme"), both.seal_secret(SECRET, "acme")
    assert both.open_secret(old, "acme") == both.open_secret(new, "acme") == SECRET
    assert after.open_secret(new, "acme") == SECRET
    with pytest.raises(CannotDecrypt, match="WEBHOOKS_ENCRYPTION_KEY"):
        after.open_secret(old, "acme")
    assert [both.is_current(text) for text in (old, new, SECRET)] == [False, True, False]
    assert both.has_current_headers(both.seal_headers(HEADERS, "acme"))
    assert not both.has_current_headers(before.seal_headers(HEADERS, "acme"))
    assert not both.has_current_headers(HEADERS)
    assert both.has_current_headers({})


def test_without_a_key_nothing_is_sealed_and_plain_text_stays_readable() -> None:
    assert NOT_ENCRYPTED.seal_secret(SECRET, "acme") == SECRET
    assert NOT_ENCRYPTED.seal_headers(HEADERS, "acme") is HEADERS
    assert NOT_ENCRYPTED.seal_key(b"key") == b"key"
    assert NOT_ENCRYPTED.is_current(SECRET)
    box = SecretBox([NEW])
    assert box.open_secret(SECRET, "acme") == SECRET
    assert box.open_headers(HEADERS, "acme") is HEADERS
    assert box.open_key(b"\xffkey") == b"\xffkey"
    with pytest.raises(CannotDecrypt):
        NOT_ENCRYPTED.open_secret(box.seal_secret(SECRET, "acme"), "acme")


def test_a_key_without_the_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers.aead", None)
    with pytest.raises(ValueError, match="pip install cryptography"):
        SecretBox([NEW])
    SecretBox()
