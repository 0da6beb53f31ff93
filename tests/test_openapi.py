"""The OpenAPI document: valid, complete, and true."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from starlette_webhooks import EventType, Webhooks, WebhooksMiddleware
from starlette_webhooks.routes import OPERATIONS
from starlette_webhooks.settings import WebhooksSettings
from tests.hosts import EVENT_TYPES, MOUNT, bearer, make_app, make_webhooks
from tests.settings import make_settings


class Currency(Enum):
    EUR = "eur"
    USD = "usd"


class Line(BaseModel):
    price: int
    currency: Currency
    parts: list[Line] = []


class InvoicePaid(BaseModel):
    lines: list[Line]


OPEN = {"/openapi.json", "/asyncapi.json", "/jwks.json", "/client.js", "/client.d.ts"}
_SCOPED = [operation for operation in OPERATIONS if operation.scope is not None]
SELF_REFERENCE = {
    "type": "object",
    "properties": {"child": {"$ref": "#"}, "title": {"$ref": "#/$defs/title"}},
    "$defs": {"title": {"type": "string"}},
}


@pytest.fixture
def webhooks(settings: WebhooksSettings) -> Webhooks:
    models = [
        EventType("invoice.lines", schema=InvoicePaid, example={"lines": [{"price": 1, "currency": "eur"}]}),
        EventType("tree.grown", schema=SELF_REFERENCE, example={"child": {"child": {}}}),
        EventType("note.written", schema={"type": "object", "required": ["text"]}),
        EventType("note.read", schema={"type": "object", "required": ["text"]}, validate=False),
    ]
    return make_webhooks(settings, event_types=[*EVENT_TYPES, *models])


@pytest.fixture
def client(webhooks: Webhooks) -> Iterator[TestClient]:
    with TestClient(make_app(webhooks)) as client:
        yield client


def document_of(client: TestClient, path: str = MOUNT) -> dict[str, Any]:
    response = client.get(f"{path}/openapi.json")
    assert response.status_code == 200, response.text
    document: dict[str, Any] = response.json()
    return document


def resolve(document: dict[str, Any], value: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in value:
        target: Any = document
        for part in value["$ref"].removeprefix("#/").split("/"):
            target = target[part.replace("~1", "/").replace("~0", "~")]
        value = target
    return value


def test_an_official_validator_finds_nothing_wrong(client: TestClient) -> None:
    assert [error.message for error in OpenAPIV31SpecValidator(document_of(client)).iter_errors()] == []


def test_it_needs_no_authentication(client: TestClient) -> None:
    assert client.get(f"{MOUNT}/openapi.json").status_code == 200


def test_it_documents_each_operation_with_the_parameters_of_its_path(client: TestClient) -> None:
    paths = document_of(client)["paths"]
    documented = {(method.upper(), path) for path, operations in paths.items() for method in operations}
    assert documented == {(operation.method, operation.path) for operation in OPERATIONS}
    for operation in OPERATIONS:
        declared = {parameter.name for parameter in operation.parameters if parameter.place == "path"}
        assert declared == set(re.findall(r"{(\w+)}", operation.path)), operation.id


def test_no_two_operations_share_a_name() -> None:
    names = [operation.id for operation in OPERATIONS]
    assert len(set(names)) == len(names)


def test_every_route_names_its_scope_its_errors_and_its_parameters(client: TestClient) -> None:
    document = document_of(client)
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            where = f"{method} {path}"
            names = {resolve(document, each)["name"] for each in operation["parameters"]}
            assert set(re.findall(r"{(\w+)}", path)) <= names, where
            if path in OPEN:
                assert operation["security"] == []
                continue
            (scope,) = operation["security"][0]["key"]
            assert scope in operation["description"], where
            assert {"401", "403", "503"} <= set(operation["responses"]), where
            assert ("404" in operation["responses"]) == ("{" in path), where
            assert ("422" in operation["responses"]) == ("requestBody" in operation), where


TEST_BODIES: list[tuple[dict[str, Any], bool]] = [
    ({}, True),
    ({"data": {"any": "thing"}}, True),
    ({"eventType": "unknown.type"}, False),
    ({"eventType": "endpoint.disabled"}, False),
    ({"eventType": "endpoint.failing"}, False),
    ({"eventType": "document.created"}, True),
    ({"eventType": "document.created", "data": None}, True),
    ({"eventType": "document.created", "data": {}}, False),
    ({"eventType": "document.created", "data": {"title": "Plan"}}, True),
    ({"eventType": "note.written"}, False),
    ({"eventType": "note.written", "data": {"text": ""}}, True),
    ({"eventType": "note.read", "data": {}}, True),
    ({"eventType": "invoice.lines", "data": {"lines": [{"price": 1, "currency": "eur"}]}}, True),
    ({"eventType": "invoice.lines", "data": {"lines": [{"price": 1, "currency": "dm"}]}}, False),
    ({"eventType": "tree.grown", "data": {"child": {"title": 1}}}, False),
]


@pytest.mark.parametrize(("body", "fits"), TEST_BODIES)
def test_a_test_event_is_refused_exactly_if_the_document_says_so(
    client: TestClient, body: dict[str, Any], fits: bool
) -> None:
    validator = Draft202012Validator({**document_of(client), "$ref": "#/components/schemas/EventTest"})
    assert validator.is_valid(body) is fits
    assert client.post(f"{MOUNT}/test", json=body, headers=bearer("acme")).status_code == (202 if fits else 422)


@pytest.mark.parametrize(
    ("key", "path", "method"),
    [("read" if each.scope == "write" else "write", each.path, each.method) for each in _SCOPED],
)
def test_a_key_without_the_documented_scope_is_refused(client: TestClient, key: str, path: str, method: str) -> None:
    response = client.request(method, MOUNT + path, headers=bearer(f"acme-{key}"), follow_redirects=False)
    assert response.status_code == 403


def test_every_event_type_is_a_webhook_whose_example_fits_its_schema(client: TestClient, webhooks: Webhooks) -> None:
    document = document_of(client)
    assert set(document["webhooks"]) == {event_type.name for event_type in webhooks.event_types}
    for name, item in document["webhooks"].items():
        operation = item["post"]
        assert [each["name"] for each in operation["parameters"]] == [
            "webhook-id",
            "webhook-timestamp",
            "webhook-signature",
        ]
        content = operation["requestBody"]["content"]["application/json"]
        # References are resolved against the document.
        validator = Draft202012Validator({**document, "$ref": f"#/webhooks/{name}/post/requestBody/content/"
                                          "application~1json/schema"})  # fmt: skip
        for example in content.get("examples", {}).values():
            validator.validate(example["value"])
        assert not validator.is_valid({"type": "other", "timestamp": "", "data": {}})


def test_schemas_with_references_are_checked_in_depth(client: TestClient) -> None:
    document = document_of(client)

    def valid(name: str, data: Any) -> bool:
        place = f"#/webhooks/{name}/post/requestBody/content/application~1json/schema/properties/data"
        return Draft202012Validator({**document, "$ref": place}).is_valid(data)

    line = {"price": 1, "currency": "eur"}
    assert valid("invoice.lines", {"lines": [{**line, "parts": [line]}]})
    assert not valid("invoice.lines", {"lines": [{**line, "parts": [{**line, "currency": "dm"}]}]})
    assert valid("tree.grown", {"child": {"child": {"title": "leaf"}}})
    assert not valid("tree.grown", {"child": {"child": {"title": 1}}})


@pytest.mark.parametrize(("mounts", "root"), [(["/hooks"], ""), (["/a", "/b/c"], ""), (["/a", "/b"], "/proxy")])
def test_the_server_is_where_the_routes_are_under_any_mount_and_root_path(
    webhooks: Webhooks, mounts: list[str], root: str
) -> None:
    app: Any = webhooks
    for path in reversed(mounts):
        app = Starlette(routes=[Mount(path, app=app)])
    app.add_middleware(WebhooksMiddleware, webhooks=webhooks)
    with TestClient(app, root_path=root) as client:
        (server,) = document_of(client, root + "".join(mounts))["servers"]
        assert server["url"] == root + "".join(mounts)
        assert client.get(f"{server['url']}/events", headers=bearer("acme")).status_code == 200


async def test_served_by_itself_its_routes_are_at_the_root(webhooks: Webhooks) -> None:
    with TestClient(webhooks) as client:
        assert document_of(client, "")["servers"] == [{"url": "/"}]


def test_scopes_are_named_as_in_the_settings(tmp_path: Any) -> None:
    webhooks = make_webhooks(make_settings(tmp_path, read_scope="events.read"))
    with TestClient(make_app(webhooks)) as client:
        operation = document_of(client)["paths"]["/events"]["get"]
        assert operation["security"] == [{"key": ["events.read"]}, {"session": ["events.read"]}]
