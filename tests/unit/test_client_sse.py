"""Server-Sent Events are read as the standard says, wherever the pieces are cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hasty.client.sse import EventParser, Message
from tests.unit.examples import repeatable


def read(*pieces):
    parser = EventParser()
    return [(message, parser.last_id) for piece in pieces for message in parser.feed(piece)]


def messages(*pieces):
    return [message for message, _ in read(*pieces)]


def test_a_message_has_a_type_data_and_an_id():
    assert read(b"id: 17\nevent: job.running\ndata: {}\n\n") == [(Message("job.running", "{}"), "17")]


def test_a_message_without_a_type_is_a_message():
    assert messages(b"data: x\n\n") == [Message("message", "x")]


def test_the_type_of_one_message_is_not_that_of_the_next():
    assert messages(b"event: a\ndata: x\n\ndata: y\n\n") == [Message("a", "x"), Message("message", "y")]


def test_lines_of_data_are_joined():
    assert messages(b"data: one\ndata:two\ndata:  three\ndata\n\n") == [
        Message("message", "one\ntwo\n three\n")
    ]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_lines_end_in_three_ways(end):
    told = end.join([b"id: 1", b"data: x", b"", b"id: 2", b"data: y", b"", b""])
    assert read(told) == [(Message("message", "x"), "1"), (Message("message", "y"), "2")]


def test_a_line_end_that_is_cut_in_two_is_one():
    assert messages(b"data: one\r", b"\ndata: two\r", b"", b"\n\r", b"\n") == [Message("message", "one\ntwo")]


def test_a_message_is_told_at_once_also_where_its_last_line_end_may_be_half_a_one():
    parser = EventParser()
    assert list(parser.feed(b"data: x\r\r")) == [Message("message", "x")]
    assert list(parser.feed(b"\ndata: y\r\r")) == [Message("message", "y")]


def test_two_line_ends_of_which_the_second_is_whole_are_not_taken_for_one():
    assert messages(b"data: x\r", b"\n", b"\n") == [Message("message", "x")]


def test_comments_and_unknown_fields_say_nothing():
    assert messages(b": \n\n:data: no\nretry: 10\nnew: x\ndata: yes\n\n: \n\n") == [Message("message", "yes")]


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        (b"1500", 1.5),
        (b"0", 0.0),
        (b"soon", 2.0),
        (b"-1", 2.0),
        (b"\xc2\xb2", 2.0),
        (b"9" * 5_000, 999_999.999),
    ],
)
def test_a_stream_says_when_to_come_back(told, seconds):
    parser = EventParser()
    assert parser.retry_s == 0.0
    assert list(parser.feed(b"retry: 2000\nretry: " + told + b"\n\n")) == []
    assert parser.retry_s == seconds


def test_an_id_stays_until_there_is_another():
    told = b"id: 1\ndata: a\n\ndata: b\n\nid: 2\ndata: c\n\nid\ndata: d\n\n"
    assert [last_id for _, last_id in read(told)] == ["1", "1", "2", ""]


def test_an_id_without_data_counts_too():
    parser = EventParser()
    assert list(parser.feed(b"id: 40\n\n")) == []
    assert parser.last_id == "40"


def test_an_id_counts_only_when_its_message_is_complete():
    parser = EventParser()
    list(parser.feed(b"id: 1\ndata: a\n\nid: 2\ndata: b\n"))
    assert parser.last_id == "1"


def test_an_id_with_a_null_in_it_is_none():
    assert read(b"id: 1\ndata: a\n\nid: 2\x00\ndata: b\n\n")[1][1] == "1"


def test_a_message_that_was_broken_off_is_none():
    assert messages(b"data: whole\n\ndata: half\n") == [Message("message", "whole")]


def test_a_byte_order_mark_is_left_out_at_the_beginning_and_only_there():
    mark = b"\xef\xbb\xbf"
    assert messages(mark[:1], mark[1:] + b"data: x\n\ndata: ", mark + b"y\n\n") == [
        Message("message", "x"),
        Message("message", "\ufeffy"),
    ]


def test_what_is_no_unicode_breaks_nothing():
    assert messages(b"data: \xff\n\ndata: y\n\n") == [Message("message", "\ufffd"), Message("message", "y")]


STREAM = (
    '\ufeffid: 1\r\nevent: job.running\r\ndata: {"a":\r\ndata: "grün"}\r\n\r\n: \r\r'
    "id: 2\ndata: zwei 🎬\n\nid: 3\n\n: \n\ndata: drei\r\r"
)


@repeatable
@given(st.lists(st.integers(0, len(STREAM.encode())), max_size=12))
def test_it_does_not_matter_where_the_pieces_are_cut(places):
    told, cuts = STREAM.encode(), sorted(places)
    pieces = [told[a:b] for a, b in zip([0, *cuts], [*cuts, len(told)], strict=True)]
    whole = [
        (Message("job.running", '{"a":\n"grün"}'), "1"),
        (Message("message", "zwei 🎬"), "2"),
        (Message("message", "drei"), "3"),
    ]
    assert read(*pieces) == read(told) == read(*(bytes([byte]) for byte in told)) == whole
