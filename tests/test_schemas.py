"""Schemas of `data`: with each kind of schema, stored data matches what the catalog publishes."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any

import jsonschema_rs
import msgspec
import pytest
from pydantic import BaseModel, ConfigDict, Field, RootModel
from pydantic.dataclasses import dataclass as pydantic_dataclass
from typing_extensions import TypedDict

from starlette_webhooks import EventType, InvalidEvent, UnknownEventType
from starlette_webhooks.event_types import EventTypes

MOMENT = datetime(2026, 11, 23, 21, 50, tzinfo=UTC)


class Model(BaseModel):
    amount: Annotated[int, Field(ge=0)]
    active: bool = True
    paid_at: datetime | None = Field(default=None, alias="paidAt")


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")

    amount: int


class LateModel(Model):
    days: int = 0


@dataclass
class Plain:
    amount: Annotated[int, Field(ge=0)]
    active: bool = True


@pydantic_dataclass
class Checked:
    amount: Annotated[int, Field(ge=0)]
    active: bool = True


class Typed(TypedDict, total=False):
    amount: Annotated[int, Field(ge=0)]
    active: bool


class Struct(msgspec.Struct, rename="camel"):
    amount: Annotated[int, msgspec.Meta(ge=0)]
    active: bool = True
    paid_at: datetime | None = None


CLASSES = [Model, Plain, Checked, Typed, Struct]


def stored(event_type: EventType, data: Any) -> Any:
    return json.loads(event_type.encode(data))


def published(event_type: EventType) -> Any:
    schema = event_type.document()["schema"]
    jsonschema_rs.meta.validate(schema)
    return jsonschema_rs.Draft202012Validator(schema)


@pytest.mark.parametrize("schema", CLASSES)
@pytest.mark.parametrize(
    "data",
    [
        {"amount": 1},
        {"amount": 1, "active": False},
        {"amount": "9900", "active": "yes"},
        {"amount": 1.0},
        {"amount": 1, "unknown": "field"},
        {"amount": 1, "paidAt": "2026-11-23T21:50:00Z"},
        {"amount": 1, "paidAt": MOMENT},
        {"amount": 1, "paid_at": MOMENT},
    ],
)
def test_a_dict_is_stored_as_the_class_writes_it_or_refused(schema: Any, data: dict[str, Any]) -> None:
    event_type = EventType("a.b", schema=schema)
    try:
        found = stored(event_type, data)
    except InvalidEvent:
        assert schema is Struct, "Pydantic converts what msgspec refuses."
        return
    published(event_type).validate(found)
    assert type(found["amount"]) is int
    assert set(found) <= {"amount", "active", "paidAt"}


@pytest.mark.parametrize("schema", CLASSES)
@pytest.mark.parametrize("data", [{"amount": -1}, {"amount": "much"}, {"amount": None}, [1], "text"])
def test_data_that_the_class_cannot_read_is_refused(schema: Any, data: Any) -> None:
    with pytest.raises(InvalidEvent, match=r"does not match the schema of `a\.b`"):
        EventType("a.b", schema=schema).encode(data)


@pytest.mark.parametrize("schema", [Model, Plain, Checked, Struct])
def test_an_instance_of_the_class_is_an_event_of_its_type(schema: Any) -> None:
    event_type = EventType("a.b", schema=schema)
    assert EventTypes([event_type]).of(schema(amount=3)) is event_type
    found = stored(event_type, schema(amount=3))
    assert (found["amount"], found["active"]) == (3, True)
    published(event_type).validate(found)


@pytest.mark.parametrize("schema", [Plain, Struct])
@pytest.mark.parametrize("amount", ["much", -1, None])
def test_an_instance_that_was_built_unchecked_is_checked(schema: Any, amount: Any) -> None:
    with pytest.raises(InvalidEvent, match="does not match the schema"):
        EventType("a.b", schema=schema).encode(schema(amount=amount))


def test_an_instance_that_was_built_unconverted_is_converted() -> None:
    assert stored(EventType("a.b", schema=Plain), Plain(amount="9900"))["amount"] == 9900  # type: ignore[arg-type]


def test_a_model_that_was_changed_to_an_invalid_state_is_refused() -> None:
    paid = Model(amount=1)
    paid.amount = "much"  # type: ignore[assignment]
    with pytest.raises(InvalidEvent, match="amount"):
        EventType("a.b", schema=Model).encode(paid)


def test_an_instance_of_a_subclass_is_stored_as_the_catalog_says() -> None:
    event_type = EventType("a.b", schema=Model)
    assert EventTypes([event_type]).of(LateModel(amount=1)) is event_type
    assert "days" not in stored(event_type, LateModel(amount=1, days=3))


def test_a_model_that_forbids_other_fields_refuses_them() -> None:
    with pytest.raises(InvalidEvent, match="other: Extra inputs are not permitted"):
        EventType("a.b", schema=Strict).encode({"amount": 1, "other": 2})


def test_an_instance_of_another_class_is_refused() -> None:
    with pytest.raises(InvalidEvent):
        EventType("a.b", schema=Strict).encode(Plain(amount=1))


def test_a_model_of_something_else_than_an_object_is_refused_at_emit() -> None:
    with pytest.raises(InvalidEvent, match="must be a dict"):
        EventType("a.b", schema=RootModel[list[int]]).encode([1])


def test_a_typed_dict_is_a_dict_without_an_event_type() -> None:
    event_type = EventType("a.b", schema=Typed)
    assert event_type.model is None
    assert stored(event_type, Typed(amount=1)) == {"amount": 1}


@pytest.mark.parametrize("schema", [int, list, type, "object", 7, [], Exception])
def test_a_class_of_another_kind_is_refused(schema: Any) -> None:
    with pytest.raises(ValueError, match="a Pydantic model, a dataclass, a TypedDict or a msgspec struct"):
        EventType("a.b", schema=schema)


def test_a_class_that_pydantic_cannot_use_is_refused_with_its_reason() -> None:
    @dataclass
    class Odd:
        value: object()  # type: ignore[valid-type]

    with pytest.raises(ValueError, match=r"schema of `a\.b` is not a class that Pydantic can use"):
        EventType("a.b", schema=Odd)


@pytest.mark.parametrize("schema", [*CLASSES, {"type": "object", "required": ["amount"]}])
def test_a_schema_may_be_published_only(schema: Any) -> None:
    event_type = EventType("a.b", schema=schema, validate=False)
    assert event_type.document()["schema"] == EventType("a.b", schema=schema).document()["schema"]
    assert stored(event_type, {"anything": True}) == {"anything": True}


def test_the_example_is_kept_as_it_would_be_stored() -> None:
    assert EventType("a.b", example={"at": MOMENT}).example == {"at": "2026-11-23T21:50:00Z"}
    assert EventType("a.b", schema=Plain, example=Plain(1)).document()["example"] == {"amount": 1, "active": True}


# JSON Schemas


def test_a_json_schema_checks_what_is_stored_and_not_what_was_given() -> None:
    text = EventType("a.b", schema={"properties": {"x": {"type": "string"}}})
    number = EventType("a.b", schema={"properties": {"x": {"type": "number"}}})
    for value in (MOMENT, Decimal("1.10")):
        assert isinstance(stored(text, {"x": value})["x"], str)
        with pytest.raises(InvalidEvent, match=r"\$\.x: .* is not of type"):
            number.encode({"x": value})
    with pytest.raises(InvalidEvent, match="NaN"):
        number.encode({"x": float("nan")})


def test_an_error_names_the_place_and_repeats_no_more_than_it_needs() -> None:
    event_type = EventType("a.b", schema={"properties": {"xs": {"items": {"maxLength": 2}}}})
    with pytest.raises(InvalidEvent, match=r"\$\.xs\[1\]: ") as caught:
        event_type.encode({"xs": ["ok", "x" * 100_000]})
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"type": "nonsense"}, "not a valid JSON Schema"),
        ({"pattern": "("}, "not a valid JSON Schema"),
        ({"$ref": "https://example.com/schema.json"}, "not a valid JSON Schema"),
    ],
)
def test_an_invalid_or_remote_json_schema_is_refused(schema: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EventType("a.b", schema=schema)


def spent(event_type: EventType, data: Any) -> float:
    began = time.thread_time()
    with suppress(InvalidEvent):
        event_type.encode(data)
    return time.thread_time() - began


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"uniqueItems": True}, [{"i": number} for number in range(4000)]),
        ({"uniqueItems": True}, [{"i": number} for number in range(4000)] + [{"i": 0}]),
        ({"pattern": "^(a+)+$"}, "a" * 60_000 + "!"),
        ({"pattern": r"^((a|aa)+)\1$"}, "a" * 60_000 + "!"),
        ({"items": {"pattern": r"^((a|aa)+)\1$"}}, ["a" * 50 + "!"] * 1000),
    ],
)
def test_no_schema_makes_a_customers_event_expensive(schema: dict[str, Any], value: Any) -> None:
    event_type = EventType("a.b", schema={"properties": {"value": schema}})
    # Events for which `jsonschema` needed seconds to minutes.
    assert min(spent(event_type, {"value": value}) for _ in range(3)) < 0.05


def test_without_the_extra_a_json_schema_says_what_to_install() -> None:
    code = """
import sys
sys.modules["jsonschema_rs"] = None
from starlette_webhooks import EventType
EventType("a.b", schema={"type": "object"}, validate=False)
try:
    EventType("a.b", schema={"type": "object"})
except ValueError as error:
    print(error)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "install `jsonschema-rs`" in run.stdout, run.stderr


# Names that are not in the catalog


def steps_of(function: Callable[[], object]) -> int:
    """The number of calls that a function makes, which does not depend on the speed of the machine."""
    steps = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal steps
        steps += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        function()
    finally:
        sys.setprofile(before)
    return steps


def test_a_suggestion_takes_few_steps_for_any_number_of_types_and_letters() -> None:
    types = EventTypes([f"{'ab' * 20}.b{number}" for number in range(1000)])
    with pytest.raises(UnknownEventType) as caught:
        types["ab" * 50_000]
    assert len(str(caught.value)) < 1000
    # Comparing all types takes 20 times as many, and comparing all letters four times.
    assert steps_of(lambda: types.nearest("ab" * 50_000)) < 200_000


def test_a_suggestion_is_found_among_many_types() -> None:
    types = EventTypes([f"group{number}.happened_{number}" for number in range(1000)] + ["invoice.payment_failed"])
    assert types.nearest("invoice.payment_faild") == "invoice.payment_failed"
    assert types.nearest("invoce.payment_failed") == "invoice.payment_failed"
