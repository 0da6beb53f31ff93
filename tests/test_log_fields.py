"""Fields of log records that programs rely on."""

from __future__ import annotations

import ast
import logging
import re
from pathlib import Path
from typing import Any

import pytest

from starlette_webhooks import EventType, Webhooks
from starlette_webhooks.backends.memory import MemoryBackend
from starlette_webhooks.problems import Problem
from starlette_webhooks.relay.forward import ForwardingFailed, ForwardingRefused
from starlette_webhooks.stores.outboxes import outbox_of
from tests.clock import Clock
from tests.eventually import eventually
from tests.pages import DOCS
from tests.receivers import receiving
from tests.relay.target import Target, make, relaying
from tests.servers import ROOT
from tests.settings import make_settings

PACKAGE = ROOT / "starlette_webhooks"
ALWAYS = [path for place in ("relay", "backends/svix", "streams") for path in sorted((PACKAGE / place).rglob("*.py"))]
LEVELS = ("debug", "info", "warning", "error", "exception", "critical", "log")


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


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            ForwardingRefused("no", code="too_large", detail="no"),
            {"action": "event.dead_lettered", "code": "too_large"},
        ),
        (ForwardingFailed("not now"), {"action": "relay.retrying"}),
    ],
    ids=["refused", "failed"],
)
async def test_what_the_relay_cannot_forward_is_logged_with_its_id(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, error: Exception, told: dict[str, Any]
) -> None:
    def fail(event: object) -> None:
        raise error

    target, event = Target(), make("acme")
    target.on_event = fail
    outbox = outbox_of(make_settings(tmp_path), Clock())
    async with relaying(outbox, target):
        outbox.submit([event])
        await outbox.committed()
        found, *_ = await eventually(lambda: fields(caplog))
    assert found == {**told, "tenant": "acme", "eventId": event.event_id}


@pytest.mark.parametrize("path", ALWAYS, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_each_record_of_the_relay_of_svix_and_of_streams_has_fields(path: Path) -> None:
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    without = [
        call.lineno
        for call in calls
        if isinstance(call.func, ast.Attribute)
        and isinstance(call.func.value, ast.Name)
        and (call.func.value.id, call.func.attr in LEVELS) == ("logger", True)
        and "extra" not in [keyword.arg for keyword in call.keywords]
    ]
    assert without == []


def test_the_page_of_logs_lists_each_action() -> None:
    used = {
        action
        for path in PACKAGE.rglob("*.py")
        for action in re.findall(r'log_fields\(\s*"([a-z_.]+)"', path.read_text())
    }
    logs = (DOCS / "howto" / "monitoring.md").read_text().partition("## Logs")[2].partition("## Alerts")[0]
    assert set(re.findall(r"`([a-z_]+\.[a-z_]+)`", logs)) == used
