"""The audit log: one entry per relevant action, with the caller and without secrets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from starlette_webhooks import APIKeys, Principal, Webhooks
from starlette_webhooks.settings import WebhooksSettings
from tests.audit_log import audit_entries
from tests.hosts import MOUNT, READ, WRITE, bearer, enter, make_app, make_webhooks, user_of

ACME = bearer("acme")
URL = "https://93.184.215.14/services/hunter2?token=hunter2"
KEYS = {"acme": Principal("acme", [READ, WRITE], "key_7")}


@pytest.fixture
def webhooks(settings: WebhooksSettings) -> Webhooks:
    return make_webhooks(settings, authenticate=APIKeys(KEYS.get, fallback=user_of))


@pytest.fixture
def client(webhooks: Webhooks) -> Iterator[TestClient]:
    with TestClient(make_app(webhooks), base_url="http://testserver" + MOUNT, client=("192.0.2.7", 5000)) as client:
        yield client


@pytest.fixture
def entries(caplog: pytest.LogCaptureFixture) -> Iterator[list[dict[str, Any]]]:
    """Return what was logged, in order."""
    with audit_entries(caplog) as found:
        yield found


def test_each_relevant_action_has_an_entry(client: TestClient, entries: list[dict[str, Any]]) -> None:
    body = {"url": URL, "headers": {"X-Key": "hunter2"}}
    endpoint = client.post("/endpoints", json=body, headers=ACME).json()["id"]
    client.patch(f"/endpoints/{endpoint}", json={"url": "https://1.1.1.1/hunter2"}, headers=ACME)
    client.get(f"/endpoints/{endpoint}/secret", headers=ACME)
    client.post(f"/endpoints/{endpoint}/secret/rotate", headers=ACME)
    client.delete(f"/endpoints/{endpoint}", headers=ACME)
    by_key = {"tenant": "acme", "via": "key", "subject": "key_7", "address": "192.0.2.7", "endpoint": endpoint}
    assert entries == [
        {"action": "endpoint.created", **by_key, "origin": "https://93.184.215.14:443"},
        {"action": "endpoint.changed", **by_key, "origin": "https://1.1.1.1:443", "fields": ["url"]},
        {"action": "secret.read", **by_key},
        {"action": "secret.rotated", **by_key},
        {"action": "endpoint.deleted", **by_key},
    ]
    assert "hunter2" not in str(entries)
    assert "whsec_" not in str(entries)


def test_failed_actions_and_reads_have_no_entry(client: TestClient, entries: list[dict[str, Any]]) -> None:
    client.get("/endpoints", headers=ACME)
    client.get("/endpoints/ep_" + "0" * 27 + "/secret", headers=ACME)
    client.post("/endpoints", json={"url": "ftp://x"}, headers=ACME)
    assert entries == []


def test_portal_sessions_keys_users_and_code_are_distinguished(
    webhooks: Webhooks, client: TestClient, entries: list[dict[str, Any]]
) -> None:
    enter(client, client.post("/portal", headers=ACME).json()["url"])
    page = {"Sec-Fetch-Site": "same-origin"}
    client.post("/endpoints", json={"url": URL}, headers=page)
    client.post("/dashboard/sign-out", headers=page, follow_redirects=False)
    client.post("/endpoints", json={"url": URL}, headers={**page, "X-User": "acme"})
    assert client.portal is not None
    client.portal.call(webhooks.endpoints("acme").create, URL)
    client.portal.call(webhooks.revoke_sessions, "acme")
    client.portal.call(webhooks.reencrypt)
    client.portal.call(webhooks.erase, "acme")
    assert [(entry["action"], entry["via"], entry["subject"]) for entry in entries] == [
        ("portal.link_created", "key", "key_7"),
        ("portal.opened", "session", "key_7"),
        ("endpoint.created", "session", "key_7"),
        ("portal.signed_out", "session", "key_7"),
        ("endpoint.created", "host", ""),
        ("endpoint.created", "code", ""),
        ("sessions.revoked", "code", ""),
        ("secrets.encrypted", "code", ""),
        ("tenant.erased", "code", ""),
    ]


def test_a_name_with_a_line_break_does_not_start_another_entry(
    webhooks: Webhooks, client: TestClient, entries: list[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    assert client.portal is not None
    client.portal.call(webhooks.erase, "acme\n{}")
    assert [entry["tenant"] for entry in entries] == ["acme\n{}"]
    assert "\n" not in caplog.records[-1].getMessage()
