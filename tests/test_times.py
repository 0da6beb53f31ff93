"""Parsing of times: every form of RFC 3339, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from starlette_webhooks.times import parse_time


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-23T21:50:00Z", datetime(2026, 11, 23, 21, 50)),
        ("2026-11-23t21:50:00z", datetime(2026, 11, 23, 21, 50)),
        ("2026-11-23 21:50:00Z", datetime(2026, 11, 23, 21, 50)),
        ("2026-11-23T21:50:00.1Z", datetime(2026, 11, 23, 21, 50, 0, 100_000)),
        ("2026-11-23T21:50:00.123456789Z", datetime(2026, 11, 23, 21, 50, 0, 123_456)),
        ("2026-11-23T21:50:00+02:00", datetime(2026, 11, 23, 19, 50)),
        ("2026-11-23T21:50:00-05:30", datetime(2026, 11, 24, 3, 20)),
        ("2026-11-23T21:50:00-00:00", datetime(2026, 11, 23, 21, 50)),
        # A leap second counts as the second after it.
        ("2026-12-31T23:59:60Z", datetime(2027, 1, 1)),
        ("2026-12-31T23:59:60.5Z", datetime(2027, 1, 1)),
        ("2026-12-31T15:59:60-08:00", datetime(2027, 1, 1)),
        # Times outside the range of ids count as its first or last time.
        ("0000-01-01T00:00:00Z", datetime(2014, 5, 14)),
        ("0001-01-01T00:00:00+14:00", datetime(2014, 5, 14)),
        ("1999-01-01T00:00:00Z", datetime(2014, 5, 14)),
        ("2150-01-01T00:00:01Z", datetime(2150, 1, 1)),
        ("9999-12-31T23:59:59-14:00", datetime(2150, 1, 1)),
        ("9999-12-31T23:59:60Z", datetime(2150, 1, 1)),
    ],
)
def test_every_form_of_rfc_3339_is_read(text: str, moment: datetime) -> None:
    assert parse_time(text) == moment.replace(tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "1700000000",
        "2026-11-23",
        "2026-11-23T21:50:00",
        "2026-11-23T21:50Z",
        "20261123T215000Z",
        "2026-W48-1T21:50:00Z",
        "2026-11-23T21:50:00+0200",
        "2026-11-23T21:50:00+24:00",
        "2026-11-23T21:50:00+02:60",
        "2026-02-30T21:50:00Z",
        "2026-13-01T21:50:00Z",
        "2026-11-23T24:00:00Z",
        "2026-11-23T21:50:61Z",
        # A leap second only occurs at the end of a day in UTC.
        "2026-11-23T21:50:60Z",
        "2026-11-23T23:59:60+01:00",
        "2026-11-23T21:50:00Z\n",
        "２026-11-23T21:50:00Z",
    ],
)
def test_nothing_else_is(text: str) -> None:
    with pytest.raises(ValueError):
        parse_time(text)
