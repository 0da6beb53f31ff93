"""Ids: Svix's form, order in time and within a process."""

from __future__ import annotations

import threading
import time

import pytest

from starlette_webhooks.identifiers import (
    first_id,
    is_event_id,
    is_first_id,
    is_message_id,
    is_position_id,
    mint,
    position_id,
    timestamp_ms,
)
from tests.forking import in_child


def test_an_id_of_svix_is_read_to_the_moment_it_was_minted() -> None:
    # Published with the format: 2022-03-29T16:14:35.136Z.
    assert timestamp_ms("msg_274DTsX0wVTSLvo91QopQgZrjDV") == 1_648_570_475_136


def test_a_new_id_has_the_form_of_a_message_id_and_the_present_tick() -> None:
    before = time.time_ns() // 1_000_000
    identifier = mint("msg_")
    assert is_message_id(identifier)
    assert before - 4 < timestamp_ms(identifier) <= time.time_ns() // 1_000_000


def test_ids_of_all_threads_only_increase() -> None:
    ids: list[list[str]] = [[] for _ in range(4)]

    def work(mine: list[str]) -> None:
        mine.extend(mint("msg_") for _ in range(2000))

    threads = [threading.Thread(target=work, args=(mine,)) for mine in ids]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(mine == sorted(mine) for mine in ids)
    assert len({identifier for mine in ids for identifier in mine}) == 8000


def test_ids_of_one_tick_increase_however_many_there_are() -> None:
    now = time.time_ns() // 1_000_000
    ids = [mint("msg_", now) for _ in range(10_000)]
    assert ids == sorted(set(ids))
    assert {timestamp_ms(identifier) for identifier in ids} == {now - now % 4}


def test_ids_grow_over_a_clock_that_is_set_back_a_little_and_follow_one_that_is_set_back_far() -> None:
    now = time.time_ns() // 1_000_000 + 3_600_000
    ids = [mint("msg_", now), mint("msg_", now - 900), mint("msg_", now + 4)]
    assert ids == sorted(ids)
    assert timestamp_ms(mint("msg_", now - 3_600_000)) == (now - 3_600_000) // 4 * 4


def test_ids_of_one_kind_keep_their_order_with_any_clock_of_another_kind() -> None:
    now = time.time_ns() // 1_000_000
    ids = []
    for _ in range(50):
        ids.append(mint("msg_", now))
        mint("atmpt_", now + 86_400_000)
    assert ids == sorted(ids)


def test_the_first_id_of_a_time_separates_earlier_from_later_ids() -> None:
    now = time.time_ns() // 1_000_000
    earlier = mint("msg_", now)
    assert earlier < first_id("msg_", now + 40) < mint("msg_", now + 40)


def test_a_position_without_an_event_is_neither_an_event_nor_a_time_to_start_from() -> None:
    now = time.time_ns() // 1_000_000
    position = position_id(now)
    assert (is_position_id(position), is_message_id(position), is_first_id("msg_", position)) == (True, True, False)
    assert timestamp_ms(position) == timestamp_ms(first_id("msg_", now))
    for other in (mint("msg_", now), first_id("msg_", now), "msg_1", f"ep_{position[4:]}"):
        assert not is_position_id(other)
    assert position_id(0) == "msg_" + "0" * 26 + "1"


def test_bounds_outside_the_range_of_ids_are_clamped() -> None:
    assert first_id("msg_", 0) == "msg_" + "0" * 27
    assert is_message_id(first_id("msg_", 10**15))


def test_only_20_bytes_of_base62_are_a_message_id() -> None:
    assert not is_message_id("msg_" + "z" * 27)
    assert not is_message_id("msg_" + "a" * 26)
    assert not is_message_id("msg_274DTsX0wVTSLvo91QopQgZrjD\u0660")
    assert not is_message_id("-msg_274DTsX0wVTSLvo91QopQgZrjDV")


def test_an_event_id_is_what_svix_accepts() -> None:
    assert is_event_id("order-1.2_3")
    assert not is_event_id("msg_1")
    assert not is_event_id("")
    assert not is_event_id("a" * 257)
    assert not is_event_id("a/b")
    assert not is_event_id("a\n")
    assert not is_event_id(7)


@pytest.mark.slow  # Many forks are needed for some of them to happen while a thread holds the lock.
def test_children_mint_while_threads_of_their_parent_do() -> None:
    ended = threading.Event()

    def work() -> None:
        while not ended.is_set():
            mint("msg_")

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        # At some of these forks, a thread holds the lock.
        for _ in range(40):
            assert in_child(lambda: int(not is_message_id(mint("msg_"))), within=5) == 0
    finally:
        ended.set()
        for thread in threads:
            thread.join()
