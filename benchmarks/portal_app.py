"""The server of the subject `portal`, and the log that it shows."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from typing import Any

import anyio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Mount, Route

from benchmarks.app import make_webhooks
from starlette_webhooks import WebhooksMiddleware
from starlette_webhooks.identifiers import mint

__all__ = ["app", "fill"]

_DAY = 86_400_000
_TYPES = ("invoice.paid", "invoice.failed", "document.created", "document.shared")
_PAYLOAD = '{"type":"%s","timestamp":"2026-01-01T00:00:00.000Z","data":{"number":%d,"customer":"cus_42","note":"%s"}}'
# How many endpoints receive each event, but for the last one, which all receive.
_RECEIVERS = 3


def app() -> Starlette:
    """The host of the portal, with a static page to compare with."""
    webhooks = make_webhooks(_TYPES)
    host = Starlette(routes=[Mount("/hooks", webhooks), Route("/rows", _rows)])
    host.add_middleware(WebhooksMiddleware, webhooks=webhooks)
    return host


async def _rows(request: Request) -> HTMLResponse:
    count = int(request.query_params["count"])
    rows = "".join(f"<tr><td>https://example.com/hooks/{n}<td>All events<td>100%<td>Enabled" for n in range(count))
    return HTMLResponse(f"<!doctype html><title>Rows</title><table>{rows}</table>")


def fill(database: str, *, events: int, endpoints: int) -> dict[str, str]:
    """Create a database with events and endpoints of one tenant. Returns the ids of an endpoint and of the last event.

    One in ten deliveries has failed and is attempted again tomorrow, and some endpoints are failing or disabled.
    """
    os.environ["BENCH_DATABASE"] = database
    anyio.run(_create)
    connection = sqlite3.connect(database)
    now = int(time.time() * 1000)
    with connection:
        connection.executemany(
            "INSERT INTO endpoint (no, id, tenant, url, description, event_types, channels, disabled_reason, metadata,"
            " headers, created_at, updated_at, failing_since)"
            " VALUES (?, ?, 'acme', ?, ?, '[]', '[]', ?, '{}', '{}', ?, ?, ?)",
            [_endpoint(no, now) for no in range(1, endpoints + 1)],
        )
        connection.executemany(
            "INSERT INTO event (seq, id, tenant, type, timestamp, payload) VALUES (?, ?, 'acme', ?, ?, ?)",
            [_event(seq, now - (events - seq) * 10_000) for seq in range(1, events + 1)],
        )
        attempts, deliveries = [], []
        for seq in range(1, events + 1):
            at = now - (events - seq) * 10_000
            for no in _receivers(seq, events, endpoints):
                ok = (seq + no) % 10 > 0
                attempts.append((mint("atmpt_", at), seq, no, ok, at, 200 if ok else 500, None if ok else now + _DAY))
                if not ok:
                    deliveries.append((seq, no, now + _DAY))
        connection.executemany(
            "INSERT INTO attempt (id, event, endpoint, ok, number, timestamp, status_code, duration_ms, url, response,"
            " error, trigger, next_attempt_at)"
            " VALUES (?, ?, ?, ?, 1, ?, ?, 42, 'https://example.com/', 'ok', '', 'scheduled', ?)",
            attempts,
        )
        connection.executemany(
            "INSERT INTO delivery (event, endpoint, due, attempt, step) VALUES (?, ?, ?, 1, 1)", deliveries
        )
        connection.execute(
            "INSERT INTO endpoint_hour SELECT endpoint, timestamp / 3600000 * 3600000, sum(ok), sum(NOT ok)"
            " FROM attempt GROUP BY endpoint, timestamp / 3600000"
        )
    ((endpoint,),) = connection.execute("SELECT id FROM endpoint WHERE no = 1")
    ((event,),) = connection.execute("SELECT id FROM event WHERE seq = ?", (events,))
    connection.close()
    return {"endpoint": endpoint, "event": event}


async def _create() -> None:
    async with make_webhooks(_TYPES).lifespan():
        pass


def _endpoint(no: int, now: int) -> tuple[Any, ...]:
    reason = {0: "failing", 1: "manual"}.get(no % 50)
    failing = now - _DAY if no % 10 == 5 else None
    url = f"https://customer-{no}.example.com/integrations/webhooks/receiver?token=secret"
    return no, mint("ep_", now - _DAY), url, f"Receiver {no}", reason, now - _DAY, now - _DAY, failing


def _event(seq: int, at: int) -> tuple[Any, ...]:
    name = _TYPES[seq % len(_TYPES)]
    return seq, mint("msg_", at), name, at, (_PAYLOAD % (name, seq, "x" * 200)).encode()


def _receivers(seq: int, events: int, endpoints: int) -> Iterator[int]:
    if seq == events:
        yield from range(1, endpoints + 1)
    else:
        yield from (1 + (seq * _RECEIVERS + place) % endpoints for place in range(_RECEIVERS))
