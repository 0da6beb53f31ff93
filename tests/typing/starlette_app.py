"""What type checkers know of `request.state.webhooks` in Starlette. Checked by `test_typing.py`, never run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TypedDict, assert_type
from uuid import UUID

import msgspec
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from starlette_webhooks import (
    Emission,
    Emissions,
    Emitter,
    Event,
    EventType,
    Health,
    NewEvent,
    Principal,
    Webhooks,
    WebhooksRequest,
    WebhooksSettings,
    WebhooksState,
    WebhooksWebSocket,
    get_emitter,
)
from starlette_webhooks.health import Status


class InvoicePaid(BaseModel):
    amount: int


@dataclass
class InvoiceSent:
    amount: int


class InvoiceFailed(msgspec.Struct):
    amount: int


class InvoiceVoided(TypedDict):
    amount: int


class HostState(WebhooksState):
    user: str


class HostRequest(Request[HostState]):
    pass


async def pay(request: WebhooksRequest) -> Response:
    assert_type(request.state, WebhooksState)
    assert_type(request.state.webhooks, Emitter)
    assert_type(request.state.webhooks.for_tenant(7), Emitter)
    emission = request.state.webhooks.emit("invoice.paid", {"amount": 9900}, tenant="acme", channels=["eu"])
    assert_type(emission, Emission)
    assert_type(emission.event, Event)
    assert_type(await emission, Event)
    assert_type(await request.state.webhooks.emit(InvoicePaid(amount=1)), Event)
    assert_type(await request.state.webhooks.send("invoice.paid", {}), Event)
    assert_type(await request.state.webhooks.send(InvoicePaid(amount=1), tenant=UUID(int=7)), Event)
    for data in (InvoiceSent(1), InvoiceFailed(1), InvoicePaid(amount=1)):
        assert_type(request.state.webhooks.emit(data), Emission)
        assert_type(request.state.webhooks.emit("invoice.paid", data), Emission)
    typed: InvoiceVoided = {"amount": 1}
    assert_type(request.state.webhooks.emit("invoice.voided", typed), Emission)
    request.state.webhooks.emit("invoice.paid", {"at": datetime.now(UTC), "lines": [InvoicePaid(amount=1)]})
    request.state.webhooks.emit("invoice.paid", MappingProxyType({"amount": 1}))
    many = request.state.webhooks.emit_many([NewEvent("invoice.paid", {}), ("invoice.paid", {}), InvoicePaid(amount=1)])
    assert_type(many, Emissions)
    assert_type(await many, Sequence[Event])
    return Response(status_code=204)


async def host(request: HostRequest) -> None:
    assert_type(request.state.user, str)
    assert_type(request.state.webhooks, Emitter)


async def listen(websocket: WebhooksWebSocket) -> None:
    assert_type(websocket.state.webhooks, Emitter)
    assert_type(get_emitter(websocket), Emitter)


async def plain(request: Request) -> None:
    assert_type(get_emitter(request), Emitter)


def outside(webhooks: Webhooks) -> None:
    assert_type(webhooks.emitter("acme"), Emitter)
    assert_type(webhooks.settings, WebhooksSettings)
    assert_type(webhooks.health(), Health)
    assert_type(webhooks.health()["status"], Status)
    for schema in (InvoicePaid, InvoiceSent, InvoiceFailed, InvoiceVoided, {"type": "object"}, None):
        EventType("a.b", schema=schema, example={"amount": 1})
    EventType("a.b", schema=InvoiceSent, example=InvoiceSent(1))
    Webhooks(
        event_types=["a.b", EventType("c.d", schema=InvoicePaid)], authenticate=lambda _: Principal("acme", ["read"])
    )


# Wrong uses. Both checkers fail if one of these is not an error.


async def wrong(request: WebhooksRequest, webhooks: Webhooks) -> None:
    request.state.webhooks.emit(1)  # type: ignore[call-overload]
    request.state.webhooks.emit("invoice.paid", [1])  # type: ignore[call-overload]
    request.state.webhooks.emit("invoice.paid", {}, tenant=1.5)  # type: ignore[call-overload]
    request.state.webhooks.emit("invoice.paid", {}, "acme")  # type: ignore[call-overload]
    request.state.webhooks.emit("invoice.paid", {}, idempotency="x")  # type: ignore[call-overload]
    request.state.webhooks.emit(InvoicePaid(amount=1), {"amount": 1})  # type: ignore[call-overload]
    request.state.webhooks.emit({"amount": 1})  # type: ignore[call-overload]
    await request.state.webhooks.send(InvoicePaid(amount=1), {})  # type: ignore[call-overload]
    request.state.webhooks.emit_many([("invoice.paid", 1)])  # type: ignore[list-item]
    request.state.webhooks.emitt("invoice.paid", {})  # type: ignore[attr-defined]
    await request.state.webhooks.flush("now")  # type: ignore[call-arg]
    get_emitter("request")  # type: ignore[arg-type]
    webhooks.health()["state"]  # type: ignore[typeddict-item]
    webhooks.emitter(1.5)  # type: ignore[arg-type]
    Webhooks([EventType("a.b")])  # type: ignore[call-arg]
    Webhooks(authenticate=lambda _: "acme")  # type: ignore[arg-type, return-value]
    EventType("a.b", "A label")  # type: ignore[call-arg]
    request.state.webhooks.emit("invoice.paid").event.type = "other"  # type: ignore[misc]
