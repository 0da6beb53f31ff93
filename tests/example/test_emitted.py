"""The events of the example app, asserted with the test tools, as the app's developers would."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import pytest
from litestar.testing import TestClient as LitestarClient
from starlette.testclient import TestClient

from starlette_webhooks.testing import EmittedEvents

SIGN_IN = {"email": "ada@example.com", "password": "ada-demo"}


@pytest.fixture(scope="module", autouse=True)
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The current directory, where the databases are. The same for all three apps, which share their modules."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("example"))
        yield


@pytest.fixture(params=["starlette", "fastapi", "litestar"])
def client(request: pytest.FixtureRequest) -> Iterator[Any]:
    app = importlib.import_module(f"example_app.{request.param}_app").app
    make = LitestarClient if request.param == "litestar" else TestClient
    with make(app) as client:
        yield client


def sign_in(client: Any) -> dict[str, str]:
    response = client.post("/session", json=SIGN_IN)
    assert response.status_code < 300, response.text
    return {"Sec-Fetch-Site": "same-origin"}


def test_a_new_document_is_emitted(client: Any, emitted_webhooks: EmittedEvents) -> None:
    headers = sign_in(client)
    assert client.post("/api/v1/documents", json={"title": "Plan"}, headers=headers).status_code == 201
    emitted_webhooks.assert_emitted("document.created", data={"title": "Plan"}, times=1)


def test_a_refused_document_is_not_emitted(client: Any, emitted_webhooks: EmittedEvents) -> None:
    headers = sign_in(client)
    assert client.post("/api/v1/documents", json={"title": ""}, headers=headers).status_code >= 400
    emitted_webhooks.assert_nothing_emitted()
