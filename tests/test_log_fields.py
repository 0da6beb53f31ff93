"""Fields of log records that programs rely on."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from starlette_webhooks import EventType, Webhooks
from starlette_webhooks.backends.memory import MemoryBackend
from starlette_webhooks.problems import Problem
from tests.eventually import eventually
from tests.receivers import receiving
from tests.settings import make_settings


def fields(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [record.webhooks for record in caplog.records if hasattr(record, "webhooks")]


async def test_a_disabled_endpoint_is_logged_with_its_ids(caplog: pytest.LogCaptureFixture) -> None:
    settings = make_settings()
    webhooks = Webhooks(event_types=[EventType("a.b")], settings=settings, backend=MemoryBackend(settings))
    with receiving() as receiver, caplog.at_level(logging.INFO, "starlette_webhooks"):
        receiver.status = 410
        async with webhooks.lifespan():
            endpoint = await webhooks.endpoints("acme").create(receiver.url)
            event = await webhooks.emitter("acme").send("a.b", {})
            (found,) = await eventually(lambda: fields(caplog))
    assert found == {
        "action": "endpoint.disabled",
        "tenant": "acme",
        "endpointId": endpoint.id,
        "eventId": event.id,
        "number": 1,
        "reason": "gone",
    }


def test_a_problem_is_logged_at_its_beginning_and_its_end(caplog: pytest.LogCaptureFixture) -> None:
    problem = Problem("It is over.")
    with caplog.at_level(logging.INFO, "starlette_webhooks"):
        problem.begin("The disk is full.")
        problem.end()
    assert fields(caplog) == [{"action": "problem.began"}, {"action": "problem.ended"}]
