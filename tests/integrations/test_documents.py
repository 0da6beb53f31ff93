"""Event types in the OpenAPI documents that FastAPI and Litestar generate for the host."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from jsonschema import Draft202012Validator
from litestar import Litestar, get
from litestar.di import NamedDependency
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import Operation, PathItem
from litestar.testing import TestClient as LitestarTestClient
from openapi_spec_validator import OpenAPIV31SpecValidator
from pydantic import BaseModel
from starlette.testclient import TestClient

from starlette_webhooks import Emitter, EventType, Webhooks
from starlette_webhooks.fastapi import EmitterDep, document_events
from starlette_webhooks.litestar import WebhooksPlugin
from starlette_webhooks.settings import WebhooksSettings
from tests.hosts import make_webhooks


class Line(BaseModel):
    price: int
    parts: list[Line] = []


class InvoicePaid(BaseModel):
    lines: list[Line]


def webhooks_for(settings: WebhooksSettings) -> Webhooks:
    types = [EventType("invoice.paid", schema=InvoicePaid, description="An invoice was paid.")]
    return make_webhooks(settings, event_types=types)


def check(document: dict[str, Any]) -> None:
    assert [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()] == []
    operation = document["webhooks"]["invoice.paid"]["post"]
    assert operation["description"] == "An invoice was paid."
    place = "#/webhooks/invoice.paid/post/requestBody/content/application~1json/schema"
    validator = Draft202012Validator({**document, "$ref": place})
    event = {"type": "invoice.paid", "timestamp": "2026-11-23T21:50:00.000Z"}
    assert validator.is_valid({**event, "data": {"lines": [{"price": 1, "parts": [{"price": 2}]}]}})
    assert not validator.is_valid({**event, "data": {"lines": [{"price": 1, "parts": [{"price": "two"}]}]}})
    assert "test.ping" in document["webhooks"]


def test_fastapis_document_shows_event_types_beside_what_the_host_documents(settings: WebhooksSettings) -> None:
    app = FastAPI()
    document_events(app, webhooks_for(settings))

    @app.webhooks.post("own-webhook")
    async def own(line: Line) -> None:
        pass

    @app.get("/invoices")
    async def invoices(webhooks: EmitterDep) -> None:
        pass

    client = TestClient(app)
    document = client.get("/openapi.json").json()
    check(document)
    assert "own-webhook" in document["webhooks"]
    # The emitter is not a parameter of the route.
    assert "parameters" not in document["paths"]["/invoices"]["get"]
    assert client.get("/docs").status_code == 200

    @app.get("/later")
    async def later() -> None:
        pass

    again = client.get("/openapi.json").json()
    check(again)
    assert "/later" in again["paths"]


@get("/invoices")
async def litestar_invoices(webhooks: NamedDependency[Emitter]) -> None:
    pass


def litestar_document(settings: WebhooksSettings, **options: Any) -> dict[str, Any]:
    app = Litestar([litestar_invoices], plugins=[WebhooksPlugin(webhooks_for(settings))], **options)
    with LitestarTestClient(app) as client:
        response = client.get("/schema/openapi.json")
        assert response.status_code == 200, response.text
        document: dict[str, Any] = response.json()
        return document


def test_litestars_document_shows_event_types(settings: WebhooksSettings) -> None:
    document = litestar_document(settings)
    check(document)
    assert not document["paths"]["/invoices"]["get"].get("parameters")


def test_litestars_document_keeps_what_the_host_documents(settings: WebhooksSettings) -> None:
    own = PathItem(post=Operation(operation_id="own", responses={}))
    config = OpenAPIConfig(title="Host", version="1", webhooks={"own-webhook": own})
    document = litestar_document(settings, openapi_config=config)
    assert {"own-webhook", "invoice.paid"} <= set(document["webhooks"])
    assert document["info"]["title"] == "Host"
    # The given config is not changed.
    assert set(config.webhooks or {}) == {"own-webhook"}


def test_litestars_default_config_is_not_changed_for_other_apps(settings: WebhooksSettings) -> None:
    litestar_document(settings)
    with LitestarTestClient(Litestar([])) as client:
        assert not client.get("/schema/openapi.json").json().get("webhooks")


def test_litestar_without_openapi_works(settings: WebhooksSettings) -> None:
    plugin = WebhooksPlugin(webhooks_for(settings))
    with LitestarTestClient(Litestar([litestar_invoices], plugins=[plugin], openapi_config=None)) as client:
        assert client.get("/schema/openapi.json").status_code == 404
        assert client.get("/api/v1/webhooks/openapi.json").status_code == 200
