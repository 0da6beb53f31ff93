"""The same host, on a real server, with Svix as its backend."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from starlette_webhooks.settings import WebhooksSettings
from tests import plain
from tests.hosts import MOUNT
from tests.servers import Server, serving


@pytest.fixture
def host(svix_settings: WebhooksSettings, tmp_path: Path) -> Iterator[Server]:
    """The host app in a process of its own."""
    assert svix_settings.svix_api_key is not None
    assert svix_settings.svix_server_url is not None
    key, url = svix_settings.svix_api_key.get_secret_value(), svix_settings.svix_server_url
    with serving(tmp_path, SVIX_API_KEY=key, SVIX_SERVER_URL=url) as server:
        yield server


def frames(lines: Iterator[str], count: int) -> list[dict[str, Any]]:
    """The next events of a stream."""
    found: list[dict[str, Any]] = []
    for line in lines:
        if line.startswith("data:"):
            found.append(json.loads(line[5:]))
        if len(found) == count:
            break
    return found


def test_a_host_on_svix_emits_lists_streams_and_resumes(host: Server, tenant: str) -> None:
    user = {"x-user": tenant}
    with plain.Client(base_url=host.url, headers=user, timeout=15) as client:
        with client.stream("GET", f"{MOUNT}/events/stream") as stream:
            lines = stream.iter_lines()
            assert next(lines).startswith("retry:")
            for number in range(3):
                assert client.post("/emit", json={"number": number}).status_code == 200
            streamed = frames(lines, 3)
        assert [event["payload"]["data"]["number"] for event in streamed] == [0, 1, 2]
        listed = client.get(f"{MOUNT}/events").json()
        assert sorted(listed["events"], key=lambda event: str(event["id"])) == sorted(
            streamed, key=lambda event: str(event["id"])
        )
        one = client.get(f"{MOUNT}/events/{streamed[0]['id']}").json()
        assert one == streamed[0]
        with client.stream("GET", f"{MOUNT}/events/stream", headers={"last-event-id": streamed[0]["id"]}) as stream:
            resumed = frames(stream.iter_lines(), 2)
        assert {event["id"] for event in resumed} <= {event["id"] for event in streamed} - {streamed[0]["id"]}


def test_a_host_on_svix_manages_endpoints(host: Server, tenant: str) -> None:
    with plain.Client(base_url=host.url + MOUNT, headers={"x-user": tenant}, timeout=15) as client:
        same_origin = {"origin": host.url, "sec-fetch-site": "same-origin"}
        client.headers.update(same_origin)
        made = client.post("/endpoints", json={"url": "https://example.com/hook", "eventTypes": ["invoice.paid"]})
        assert made.status_code == 201, made.text
        endpoint = made.json()
        assert client.get("/endpoints").json()["endpoints"][0]["id"] == endpoint["id"]
        path = f"/endpoints/{endpoint['id']}"
        assert client.patch(path, json={"description": "mine"}).json()["description"] == "mine"
        secret = client.get(f"{path}/secret").json()["key"]
        assert client.post(f"{path}/secret/rotate", json={}).json()["key"] != secret
        refused = client.post(
            "/endpoints", json={"url": "https://example.com/", "eventTypes": ["invoice.paid"], "rateLimit": 0}
        )
        assert refused.status_code == 422
        tested = client.post(f"{path}/test", json={})
        assert tested.status_code == 202, tested.text
        assert client.get(f"{path}/stats").status_code == 200
        assert client.post("/portal", json={}).json()["url"].startswith(("http", "/"))
        assert client.delete(path).status_code == 204
        assert client.get("/events", params={"cursor": "msg_foo"}).status_code in (400, 422)
