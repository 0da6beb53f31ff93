"""The AsyncAPI document: valid, complete, and true."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator, Draft202012Validator
from starlette.testclient import TestClient

from starlette_webhooks import EventType, Webhooks
from starlette_webhooks.event_types import EventTypes
from starlette_webhooks.routes.asyncapi import AsyncAPIDocument
from starlette_webhooks.settings import WebhooksSettings
from tests.hosts import EVENT_TYPES, MOUNT, bearer, make_app, make_webhooks
from tests.settings import make_settings
from tests.test_openapi import SELF_REFERENCE, InvoicePaid

SCHEMA = json.loads((Path(__file__).parent / "schemas" / "asyncapi-3.0.0.json").read_text())


@pytest.fixture
def webhooks(settings: WebhooksSettings) -> Webhooks:
    types = [
        EventType("invoice.lines", schema=InvoicePaid, example={"lines": [{"price": 1, "currency": "eur"}]}),
        EventType("tree.grown", schema=SELF_REFERENCE, example={"child": {"child": {}}}),
    ]
    return make_webhooks(settings, event_types=[*EVENT_TYPES, *types])


def document_of(webhooks: Webhooks, **options: Any) -> dict[str, Any]:
    with TestClient(make_app(webhooks), **options) as client:
        response = client.get(f"{MOUNT}/asyncapi.json")
        assert response.status_code == 200, response.text
        document: dict[str, Any] = response.json()
        return document


def test_responses_for_different_hosts_share_what_is_large() -> None:
    document = AsyncAPIDocument(EventTypes(["invoice.paid"]), title="Webhooks")
    first, second = document.render("https://a.example"), document.render("https://b.example")
    assert first[0] != second[0]
    assert first[1] is second[1]


def test_the_official_schema_finds_nothing_wrong(webhooks: Webhooks) -> None:
    validator = Draft7Validator(SCHEMA)
    document = document_of(webhooks)
    assert [error.message for error in validator.iter_errors(document)] == []
    assert not validator.is_valid({**document, "asyncapi": "2.0.0"})
    assert not validator.is_valid({**document, "operations": {"a": {"action": "send"}}})


def test_every_event_type_is_in_the_stream_and_a_webhook(webhooks: Webhooks) -> None:
    document = document_of(webhooks)
    names = {event_type.name for event_type in webhooks.event_types}
    assert set(document["channels"]["stream"]["messages"]) == names
    assert set(document["channels"]["webhooks"]["messages"]) == names


def test_what_is_emitted_fits_the_schemas(webhooks: Webhooks) -> None:
    document = document_of(webhooks)

    def valid(message: str, value: Any) -> bool:
        reference = f"#/components/messages/{message}/payload"
        return Draft202012Validator({**document, "$ref": reference}).is_valid(value)

    with TestClient(make_app(webhooks)) as client:
        for name in ("invoice.paid", "invoice.lines", "tree.grown"):
            event = client.post(f"{MOUNT}/test", json={"eventType": name}, headers=bearer("acme")).json()
            assert valid(f"{name}.streamed", event)
            assert valid(name, event["payload"])
            assert not valid(name, {**event["payload"], "type": "other"})
            assert not valid(f"{name}.streamed", {**event, "payload": {}})
    wrong = {**event["payload"], "data": {"child": {"child": {"title": 1}}}}
    assert not valid("tree.grown", wrong)


@pytest.mark.parametrize(
    ("options", "settings", "server"),
    [
        ({}, {}, ("testserver", "http", MOUNT)),
        ({"base_url": "https://a.example:8443", "root_path": "/b"}, {}, ("a.example:8443", "https", f"/b{MOUNT}")),
        ({}, {"public_url": "https://b.example/hooks"}, ("b.example", "https", "/hooks")),
    ],
)
def test_the_server_is_where_the_routes_are(
    tmp_path: Path, options: dict[str, str], settings: dict[str, str], server: tuple[str, str, str]
) -> None:
    path = options.get("root_path", "") + MOUNT
    with TestClient(make_app(make_webhooks(make_settings(tmp_path, **settings))), **options) as client:  # type: ignore[arg-type]
        found = client.get(f"{path}/asyncapi.json").json()["servers"]["api"]
    assert (found["host"], found["protocol"], found["pathname"]) == server
