"""Responses that start before the commit: logged once per route, and only if it happens."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI
from fastapi.testclient import TestClient
from litestar import Litestar, Request, post
from litestar.testing import TestClient as LitestarClient
from sqlalchemy import Engine, create_engine
from sqlalchemy.orm import Session

from starlette_webhooks import Webhooks, WebhooksRequest
from starlette_webhooks.backends.memory import MemoryBackend
from starlette_webhooks.litestar import WebhooksPlugin
from starlette_webhooks.outbox import Outbox
from starlette_webhooks.settings import WebhooksSettings


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = create_engine(f"sqlite:///{tmp_path / 'host.db'}", connect_args={"check_same_thread": False})
    Outbox(engine).metadata.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def webhooks(engine: Engine, settings: WebhooksSettings) -> Webhooks:
    return Webhooks(
        event_types=["order.created"],
        tenant=lambda connection: "acme",
        settings=settings,
        backend=MemoryBackend(settings),
        outbox=Outbox(engine),
    )


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [record for record in caplog.records if record.levelno == logging.WARNING]
    return [record.getMessage() for record in found if "before the transaction" in record.getMessage()]


@pytest.mark.parametrize("scope", ["request", "function"])
def test_a_dependency_that_commits_after_the_response_is_logged_once(
    engine: Engine, webhooks: Webhooks, caplog: pytest.LogCaptureFixture, scope: Any
) -> None:
    def get_session() -> Iterator[Session]:
        with Session(engine) as session, session.begin():
            yield session

    app = FastAPI()
    webhooks.install(app)

    def create_order(request: WebhooksRequest, session: Annotated[Session, Depends(get_session, scope=scope)]) -> None:
        request.state.webhooks.emit("order.created", within=session)

    # Annotations of a function's own names cannot be resolved by FastAPI.
    create_order.__annotations__ = {
        "request": WebhooksRequest,
        "session": Annotated[Session, Depends(get_session, scope=scope)],
    }
    app.post("/orders")(create_order)
    with TestClient(app) as client:
        for _ in range(2):
            assert client.post("/orders").status_code == 200
    messages = said(caplog)
    assert len(messages) == (1 if scope == "request" else 0)
    assert all("create_order" in one and 'scope="function"' in one for one in messages)


def test_a_rollback_and_a_commit_in_the_handler_are_not_logged(
    engine: Engine, webhooks: Webhooks, caplog: pytest.LogCaptureFixture
) -> None:
    app = FastAPI()
    webhooks.install(app)

    @app.post("/orders")
    def create_order(request: WebhooksRequest) -> None:
        with Session(engine) as session:
            request.state.webhooks.emit("order.created", within=session)
            session.rollback()
            request.state.webhooks.emit("order.created", within=session)
            session.commit()

    with TestClient(app) as client:
        assert client.post("/orders").status_code == 200
    assert said(caplog) == []


@pytest.mark.parametrize("commits", [True, False])
def test_a_hook_that_commits_as_the_response_starts_is_not_logged(
    engine: Engine, webhooks: Webhooks, caplog: pytest.LogCaptureFixture, commits: bool
) -> None:
    sessions: list[Session] = []

    @post("/orders", sync_to_thread=False)
    def create_order(request: Request[Any, Any, Any]) -> None:
        session = Session(engine)
        sessions.append(session)
        request.state.webhooks.emit("order.created", within=session)

    async def commit(message: Any, _: Any) -> None:
        # As Advanced Alchemy does it.
        if commits and message["type"] == "http.response.start":
            sessions[-1].commit()

    app = Litestar([create_order], plugins=[WebhooksPlugin(webhooks)], before_send=[commit], logging_config=None)
    with LitestarClient(app) as client:
        assert client.post("/orders").status_code == 201
    for session in sessions:
        session.close()
    assert len(said(caplog)) == (0 if commits else 1)
