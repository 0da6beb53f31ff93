"""Event types: their names, their catalog, their schemas; and how an event is encoded."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from pydantic import BaseModel

from starlette_webhooks import EventType, InvalidEvent, UnknownEventType
from starlette_webhooks.event_types import EventTypes
from starlette_webhooks.events import format_time
from starlette_webhooks.payloads import new_event


class Paid(BaseModel):
    amount: int


class PaidLate(Paid):
    days: int


@pytest.mark.parametrize("name", ["a", "invoice.paid", "a_b.C_1.d", "x" * 256])
def test_a_name_follows_the_grammar_of_standard_webhooks(name: str) -> None:
    assert EventType(name).name == name


@pytest.mark.parametrize("name", ["", ".", "a.", ".a", "a..b", "a-b", "a b", "ä", "a/b", "a\n", "x" * 257])
def test_another_name_is_refused_with_an_example_of_a_good_one(name: str) -> None:
    with pytest.raises(ValueError, match=r"invoice\.payment_failed"):
        EventType(name)


def test_label_and_category_come_from_the_name_where_not_given() -> None:
    assert EventType("invoice.payment_failed").label == "Invoice payment failed"
    assert EventType("api_key.created").category == "Api key"
    given = EventType("api_key.created", label="Key made", category="API keys")
    assert (given.label, given.category) == ("Key made", "API keys")


def test_a_type_registered_twice_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`a\.b` is registered twice"):
        EventTypes([EventType("a.b"), "a.b"])


def test_the_ping_always_exists_and_can_be_redefined() -> None:
    assert "test.ping" in EventTypes()
    assert EventTypes([EventType("test.ping", label="Ours")])["test.ping"].label == "Ours"


def test_an_unknown_type_names_the_nearest_and_what_to_add() -> None:
    with pytest.raises(UnknownEventType, match=r"Did you mean `invoice\.paid`\?.*Webhooks\(event_types"):
        EventTypes(["invoice.paid"])["invoice.pay"]
    with pytest.raises(UnknownEventType) as error:
        EventTypes(["invoice.paid"])["zzz"]
    assert "Did you mean" not in str(error.value)


def test_a_model_belongs_to_one_type_and_its_subclasses_follow_it() -> None:
    types = EventTypes([EventType("a.b", schema=Paid)])
    assert types.for_model(Paid).name == "a.b"
    assert types.for_model(PaidLate).name == "a.b"
    with pytest.raises(ValueError, match="its own model"):
        EventTypes([EventType("a.b", schema=Paid), EventType("c.d", schema=Paid)])


def test_a_models_json_schema_is_in_the_document() -> None:
    document = EventType("a.b", schema=Paid, example={"amount": 1}).document()
    assert document["schema"]["properties"]["amount"]["type"] == "integer"
    assert document["example"] == {"amount": 1}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"schema": {"type": "nonsense"}}, "not a valid JSON Schema"),
        ({"schema": "object"}, "JSON Schema as a dict, or a class"),
        ({"schema": {"required": ["x"]}, "example": {}}, '"x" is a required property'),
        ({"schema": Paid, "example": {"amount": "much"}}, "amount: Input should be"),
    ],
)
def test_a_wrong_schema_or_example_fails_where_it_is_written(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EventType("a.b", **options)


def test_a_schema_may_be_for_documentation_only() -> None:
    EventType("a.b", schema={"required": ["x"]}, validate=False).encode({})
    with pytest.raises(InvalidEvent, match='"x"'):
        EventType("a.b", schema={"required": ["x"]}).encode({})


def test_an_event_is_encoded_as_one_line_of_json() -> None:
    event = new_event("a.b", {"text": 'line\nquote " slash \\ end \u2028 ✓'}, tenant="acme")
    encoded = event.encode()
    assert b"\n" not in encoded
    assert json.loads(encoded) == {
        "id": event.id,
        "eventType": "a.b",
        "payload": {"type": "a.b", "timestamp": format_time(event.timestamp), "data": event.data},
        "timestamp": format_time(event.timestamp),
    }


def test_times_are_utc_with_milliseconds() -> None:
    moment = datetime(2026, 11, 23, 23, 59, 59, 999_999, timezone(timedelta(hours=2)))
    assert format_time(moment) == "2026-11-23T21:59:59.999Z"
