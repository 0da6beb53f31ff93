"""The parser of Server-Sent Events, by the HTML standard, section 9.2.6."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from starlette_webhooks.client.sse import Message, SSEParser, TooLarge


def parse(*chunks: bytes, max_bytes: int = 1_000_000) -> list[Message]:
    parser = SSEParser(max_bytes=max_bytes)
    return [message for chunk in chunks for message in parser.feed(chunk)]


def data(*chunks: bytes) -> list[bytes | None]:
    return [message.data for message in parse(*chunks)]


def test_examples_of_the_standard() -> None:
    assert data(b"data: YHOO\ndata: +2\ndata: 10\n\n") == [b"YHOO\n+2\n10"]
    assert parse(b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n") == [
        Message("message", b"first event", "1"),
        Message("message", b"second event", ""),
        Message("message", b" third event", ""),
    ]
    assert data(b"data\n\ndata\ndata\n\ndata:") == [b"", b"\n"]
    assert data(b"data:test\n\ndata: test\n\n") == [b"test", b"test"]


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_lines_end_with_lf_cr_or_crlf(end: bytes) -> None:
    assert data(end.join([b"data: a", b"data: b", b"", b"data: c", b"", b""])) == [b"a\nb", b"c"]


def test_other_characters_do_not_end_a_line() -> None:
    text = "a\u2028b\u2029c\x0bd\x0ce\x1cf\x85g"
    assert data(f"data: {text}\n\n".encode()) == [text.encode()]


def test_a_byte_order_mark_at_the_start_is_ignored() -> None:
    assert data(b"\xef\xbb", b"\xbfdata: a\n\n\xef\xbb\xbfdata: b\n\n") == [b"a"]


def test_an_unfinished_message_at_the_end_is_not_a_message() -> None:
    assert data(b"data: a\n\ndata: b\n") == [b"a"]


def test_comments_and_times_to_retry_are_not_messages_even_after_an_id() -> None:
    parser = SSEParser()
    found = list(parser.feed(b"retry: 2500\n\nid: 1\ndata: a\n\n: heartbeat\n\nretry: soon\n\n: heartbeat\n\n"))
    assert found == [Message("message", b"a", "1")]
    assert parser.retry == 2500


def test_a_bare_id_moves_the_position_once() -> None:
    assert parse(b"id: 1\n\n: heartbeat\n\nid: 1\n\nid: 2\n\n") == [
        Message("message", None, "1"),
        Message("message", None, "2"),
    ]


def test_an_id_with_a_null_character_is_ignored() -> None:
    assert parse(b"id: 1\ndata: a\n\nid: 2\0\ndata: b\n\n")[-1].last_event_id == "1"


def test_the_type_of_a_message_holds_for_that_message_only() -> None:
    assert [message.event for message in parse(b"event: gap\ndata: {}\n\ndata: {}\n\n")] == ["gap", "message"]


def test_unknown_fields_are_ignored() -> None:
    assert data(b"data: a\ncolour: red\nDATA: b\n data: c\n\n") == [b"a"]


def test_a_message_has_a_maximum_size() -> None:
    with pytest.raises(TooLarge):
        parse(b"data: " + b"x" * 60, b"x" * 60, max_bytes=100)
    assert len(parse(*[b"data: " + b"x" * 60 + b"\n\n"] * 10, max_bytes=100)) == 10


_PIECES = st.sampled_from(
    [b"data: a", b"data:b", b"data", b"id: 1", b"id", b": x", b"retry: 5", b"event: e", b"\n", b"\r", b"\r\n", b"\xef"]
)


@given(st.lists(_PIECES, max_size=30), st.data())
def test_chunks_may_end_anywhere(pieces: list[bytes], draw: st.DataObject) -> None:
    whole = b"".join(pieces)
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    chunks = [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    assert parse(*chunks) == parse(whole) == parse(*[bytes([byte]) for byte in whole])
