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


def is_logging(node: ast.AST) -> bool:
    """Whether a node is a call that logs, with whatever name the logger has."""
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in LEVELS
        and "logg" in ast.unparse(node.func.value)
    )


def has_fields(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and any(keyword.arg == "extra" for keyword in node.keywords)


def without_fields(source: str) -> list[int]:
    """Return the lines of calls that log without fields for programs."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and is_logging(node) and not has_fields(node)
    ]


def test_each_record_of_the_package_has_fields() -> None:
    found = {str(path.relative_to(ROOT)): without_fields(path.read_text()) for path in PACKAGE.rglob("*.py")}
    assert {path: lines for path, lines in found.items() if lines} == {}


@pytest.mark.parametrize("call", ["logger.info(%s)", "self._logger.log(1, %s)", 'logging.getLogger("x").error(%s)'])
def test_a_record_without_fields_is_found_whatever_the_logger_is_called(call: str) -> None:
    assert without_fields(call % '"text"') == [1]
    assert without_fields(call % '"text", extra=log_fields("a.b")') == []


def test_the_page_of_logs_lists_each_action() -> None:
    used = {
        action
        for path in PACKAGE.rglob("*.py")
        for action in re.findall(r'log_fields\(\s*"([a-z_.]+)"', path.read_text())
    }
    logs = (DOCS / "howto" / "monitoring.md").read_text().partition("## Logs")[2].partition("## Alerts")[0]
    assert set(re.findall(r"`([a-z_]+\.[a-z_]+)`", logs)) == used
