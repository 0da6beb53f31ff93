"""What a process knows about its server, and how long it remembers it."""

from __future__ import annotations

import pytest

from starlette_webhooks.exceptions import BackendUnavailable
from starlette_webhooks.stores.postgresql.availability import Availability


class Seconds:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_what_fails_is_shown_until_it_succeeds_whatever_else_does() -> None:
    availability = Availability("db")
    availability.has_failed("append", "no space left.")
    availability.is_there("list")
    assert availability.reason == "The database fails: no space left."
    availability.has_failed("record", "permission denied.")
    assert availability.reason == "The database fails: permission denied."
    availability.is_there("record")
    assert availability.reason == "The database fails: no space left."
    availability.is_there("append")
    assert availability.reason is None


def test_failure_that_does_not_repeat_is_forgotten() -> None:
    seconds = Seconds()
    availability = Availability("db", seconds)
    availability.has_failed("prune", "out of memory.")
    seconds.now = 299
    assert availability.reason is not None
    seconds.now = 301
    assert availability.reason is None


def test_server_that_is_away_is_shown_first_and_what_failed_before_again_once_it_is_back() -> None:
    availability = Availability("db")
    availability.has_failed("append", "no space left.")
    availability.is_away("it shut down.")
    availability.has_failed("list", "it shuts down.")
    assert availability.reason == "The database is unavailable: it shut down."
    availability.is_there("list")
    assert not availability.away
    assert availability.reason == "The database fails: no space left."


def test_server_is_away_since_the_first_call_that_it_did_not_answer() -> None:
    seconds = Seconds()
    availability = Availability("db", seconds)
    availability.is_silent(since=0)
    seconds.now = 8
    availability.is_away("it has not answered in time.")
    with pytest.raises(BackendUnavailable, match="not answered in time"):
        availability.check(patience=5)
    availability.is_there()
    availability.is_away("it shut down.")
    availability.check(patience=5)
