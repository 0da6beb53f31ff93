"""Lasting problems: one line when they begin, and one when they end."""

from __future__ import annotations

import logging

import pytest

from starlette_webhooks.problems import Problem


def test_a_problem_is_logged_once_for_each_change(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    problem = Problem("It works again.")
    problem.end()
    for text in ("The disk is full.", "The disk is full.", "It is read-only.", "It is read-only."):
        problem.begin(text)
        assert problem.text == text
    for _ in range(2):
        problem.end()
        assert problem.text is None
    problem.begin("The disk is full.")
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("ERROR", "The disk is full."),
        ("ERROR", "It is read-only."),
        ("INFO", "It works again."),
        ("ERROR", "The disk is full."),
    ]


def test_a_lesser_problem_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    Problem("It works again.", level=logging.WARNING).begin("It is slow.")
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_a_problem_that_comes_and_goes_is_logged_a_few_times_a_minute_with_its_last_state(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    now = 0.0
    problem = Problem("It works again.", monotonic=lambda: now)
    for second in range(30):
        now = second
        problem.begin("The disk is full.")
        problem.end()
    assert len(caplog.records) == 10
    problem.begin("The disk is full.")
    assert len(caplog.records) == 10
    now = 61.0
    problem.begin("The disk is full.")
    assert caplog.records[-1].message == "The disk is full."
    problem.end()
    assert caplog.records[-1].message == "It works again."
