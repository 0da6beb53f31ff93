"""The encoding of `data` as JSON: like Pydantic in JSON mode, and never ambiguous for receivers."""

from __future__ import annotations

import json
from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from ipaddress import ip_address
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
import pytest
from hypothesis import given, settings, strategies as st
from pydantic import AnyUrl, BaseModel, Field, SecretStr
from pydantic.dataclasses import dataclass as pydantic_dataclass
from pydantic_core import to_jsonable_python

from starlette_webhooks import InvalidEvent
from starlette_webhooks.encoding import encode_data, escape_separators

MOMENT = datetime(2026, 11, 23, 21, 50, tzinfo=UTC)


class Colour(Enum):
    RED = "red"


class Size(IntEnum):
    LARGE = 3


class Word(StrEnum):
    YES = "yes"


class Point(NamedTuple):
    x: int
    y: int


class Line(BaseModel):
    unit_price: Decimal = Field(alias="unitPrice")
    at: datetime


@dataclass
class Customer:
    id: UUID
    since: date
    lines: list[Line] = field(default_factory=list)


@pydantic_dataclass
class Address:
    zip_code: str = Field(alias="zipCode")


class Shipment(msgspec.Struct, rename="camel"):
    sent_at: datetime
    weight: Decimal


def encoded(value: Any) -> Any:
    return json.loads(encode_data({"value": value}))["value"]


LINE = Line(unitPrice=Decimal("1.10"), at=MOMENT)
VALUES = [
    MOMENT,
    MOMENT.astimezone(timezone(timedelta(hours=2))),
    datetime(2026, 11, 23, 21, 50, 1, 500),
    date(2026, 11, 23),
    time(21, 50),
    timedelta(days=1, seconds=2),
    UUID(int=7),
    Decimal("1.10"),
    Colour.RED,
    Size.LARGE,
    Word.YES,
    ip_address("::1"),
    Path("/a/b"),
    AnyUrl("https://example.com/a"),
    SecretStr("hunter2"),
    LINE,
    [LINE, {"line": LINE}],
    Customer(UUID(int=7), date(2026, 11, 23), [LINE]),
    Address(zipCode="10115"),
    Point(1, 2),
    OrderedDict(a=MOMENT),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_a_value_is_written_as_pydantic_writes_it_in_json_mode(value: Any) -> None:
    assert encoded(value) == to_jsonable_python(value, by_alias=True)


def test_a_struct_is_written_as_msgspec_writes_it() -> None:
    assert encoded(Shipment(MOMENT, Decimal("2.50"))) == {"sentAt": "2026-11-23T21:50:00Z", "weight": "2.50"}


@pytest.mark.parametrize("data", [LINE, Address(zipCode="10115"), Shipment(MOMENT, Decimal(1)), {"a": 1}, None])
def test_data_as_a_whole_may_be_an_instance_of_a_class(data: Any) -> None:
    assert isinstance(json.loads(encode_data(data)), dict)


def test_any_mapping_is_an_object() -> None:
    assert json.loads(encode_data(MappingProxyType({"a": MappingProxyType({"b": 1})}))) == {"a": {"b": 1}}


def circle() -> dict[str, Any]:
    data: dict[str, Any] = {}
    data["self"] = [data]
    return data


def circle_of_instances() -> Customer:
    customer = Customer(UUID(int=1), date(2026, 1, 1))
    customer.lines = [customer]  # type: ignore[list-item]
    return customer


def nested(levels: int) -> Any:
    data: dict[str, Any] = {}
    for _ in range(levels):
        data = {"a": data}
    return data


@dataclass
class Holder:
    held: object


@pytest.mark.parametrize(
    ("value", "remedy"),
    [
        (float("nan"), "None or a string for NaN"),
        (float("inf"), "None or a string for NaN"),
        (Decimal("NaN"), "None or a string for NaN"),
        (Decimal("-Infinity"), "None or a string for NaN"),
        (b"bytes", "bytes is not JSON serializable.*Convert it first"),
        (bytearray(b"bytes"), "bytearray is not JSON serializable"),
        (memoryview(b"bytes"), "memoryview is not JSON serializable"),
        ({1, 2}, "set is not JSON serializable"),
        (frozenset({1}), "frozenset is not JSON serializable"),
        (deque([1]), "deque is not JSON serializable"),
        (iter([1]), "list_iterator is not JSON serializable"),
        (range(3), "range is not JSON serializable"),
        (object(), "object is not JSON serializable"),
        (Line, "is not JSON serializable"),
        ("\ud800", "lone surrogates"),
        ({"\udfff": 1}, "lone surrogates"),
        (10**5000, "not valid JSON"),
        ({1: 2}, "the key 1.*Use `'1'`"),
        ({None: 2}, "the key None"),
        ({Colour.RED: 2}, "JSON keys are strings"),
        (MappingProxyType({1: 2}), "the key 1"),
        (Holder({1: 2}), "the key 1"),
        (Holder(b"bytes"), "bytes is not JSON serializable"),
        (Holder(float("nan")), "NaN"),
        (circle(), "nested too deeply, or contains itself"),
        (circle_of_instances(), "contains itself"),
        (nested(100), "100 levels are allowed"),
        (Holder(nested(101)), "100 levels are allowed"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_that_are_not_json_raise_with_the_remedy(value: Any, remedy: str) -> None:
    with pytest.raises(InvalidEvent, match=remedy):
        encode_data({"value": value})


@pytest.mark.parametrize("data", [[1], "text", 7, True, (1,), MOMENT, Colour.RED])
def test_the_error_for_data_that_is_not_an_object_says_where_to_put_it(data: Any) -> None:
    with pytest.raises(InvalidEvent, match=f"must be a dict, not {type(data).__name__}.*under a key"):
        encode_data(data)


def test_a_hundred_levels_are_allowed() -> None:
    assert json.loads(encode_data(nested(99))) == nested(99)


def test_data_in_an_error_message_is_cut() -> None:
    with pytest.raises(InvalidEvent) as caught:
        encode_data({("x" * 100_000,): 1})
    assert len(str(caught.value)) < 600


def test_separators_that_break_lines_elsewhere_are_escaped() -> None:
    data = {"a\u2028b": ["\u0085", "\u2029", "größer ✓"]}
    written = encode_data(data)
    assert written == '{"a\\u2028b":["\\u0085","\\u2029","größer ✓"]}'.encode()
    assert json.loads(written) == data


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@settings(deadline=None, max_examples=50)
@given(data=st.dictionaries(st.text(), JSON))
def test_every_json_value_survives_a_round_trip_on_one_line(data: Mapping[str, Any]) -> None:
    written = encode_data(data)
    assert json.loads(written) == data
    assert len(written.decode().splitlines()) == 1


@given(text=st.text())
def test_escaping_does_not_change_the_value(text: str) -> None:
    written = json.dumps(text, ensure_ascii=False)
    assert json.loads(escape_separators(written)) == text
