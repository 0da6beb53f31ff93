"""The headers of an attempt, as customers see them who look for a fault."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook
from starlette.testclient import TestClient

from starlette_webhooks import Webhooks
from starlette_webhooks.settings import WebhooksSettings
from tests.eventually import wait_for
from tests.hosts import MOUNT, bearer, make_app, make_webhooks
from tests.receivers import receiving
from tests.settings import make_settings

ACME = bearer("acme")


@pytest.mark.parametrize("key", [None, "k" * 32])
def test_a_test_shows_its_headers_as_they_went(tmp_path: Path, key: str | None) -> None:
    webhooks = make_webhooks(make_settings(tmp_path, encryption_key=key))
    with receiving() as receiver, TestClient(make_app(webhooks), base_url="http://testserver" + MOUNT) as client:
        receiver.headers = {"X-Request-Id": "req_1"}
        made = client.post("/endpoints", json={"url": receiver.url, "headers": {"X-Key": "hunter2"}}, headers=ACME)
        endpoint = made.json()["id"]
        secret = client.get(f"/endpoints/{endpoint}/secret", headers=ACME).json()["key"]
        test = client.post(f"/endpoints/{endpoint}/test", json={}, headers=ACME).json()["id"]
        (attempt,) = wait_for(lambda: attempts(client, test))
        sent = {one["name"]: one["value"] for one in attempt["requestHeaders"]}
        assert sent["x-key"] == "••••••"
        (received,) = receiver.requests
        assert received.headers["x-key"] == "hunter2"
        shown = {name: value for name, value in sent.items() if name != "x-key"}
        assert shown.items() <= received.headers.items()
        Webhook(secret).verify(received.body, shown)
        assert {"name": "X-Request-Id", "value": "req_1"} in attempt["responseHeaders"]
        (seen,) = attempts(client, test, "acme-read")
        assert {"name": "webhook-signature", "value": "••••••"} in seen["requestHeaders"]
        assert "hunter2" not in str(attempt) + str(seen)


def test_headers_are_kept_of_failures_and_not_of_what_succeeds_on_schedule(settings: WebhooksSettings) -> None:
    webhooks = make_webhooks(settings)
    with receiving() as receiver, TestClient(make_app(webhooks), base_url="http://testserver" + MOUNT) as client:
        client.post("/endpoints", json={"url": receiver.url}, headers=ACME)
        good = send(client, webhooks)
        (attempt,) = wait_for(lambda: attempts(client, good))
        assert (attempt["requestHeaders"], attempt["responseHeaders"]) == (None, None)
        receiver.status, receiver.headers = 403, {"Server": "firewall"}
        bad = send(client, webhooks)
        (attempt,) = wait_for(lambda: attempts(client, bad))
        assert {"name": "Server", "value": "firewall"} in attempt["responseHeaders"]
        assert {"name": "webhook-id", "value": bad} in attempt["requestHeaders"]


def attempts(client: TestClient, event: str, key: str = "acme") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get(f"/events/{event}/attempts", headers=bearer(key)).json()["attempts"]
    return found


def send(client: TestClient, webhooks: Webhooks) -> str:
    """Emit an event as the host does."""
    assert client.portal is not None
    event = client.portal.call(partial(webhooks.emitter("acme").send, "invoice.paid", {"amountPaid": 1}))
    return str(event.id)
