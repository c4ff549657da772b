"""MLLP framing: however the bytes arrive, the same frames come out, and no more is kept than the cap."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epicrisis.doors.hl7v2.frames import Frames, Overrun, framed, unbatched
from tests.hl7v2 import message

CONTENT = st.binary(max_size=60).filter(lambda b: not {0x0B, 0x1C} & set(b))
NOISE = st.binary(max_size=20).filter(lambda b: not {0x0B} & set(b))


def cut(data: bytes, sizes: list[int], cap: int = 1024) -> list[bytes]:
    frames, found, at = Frames(cap), [], 0
    for size in [*sizes, len(data)]:
        frames.feed(data[at : at + size])
        at += size
        while (content := frames.next()) is not None:
            found.append(content)
    return found


@given(st.lists(st.tuples(NOISE, CONTENT), max_size=5), NOISE, st.lists(st.integers(1, 9), max_size=40))
def test_any_split_of_the_stream_gives_the_same_frames(
    sent: list[tuple[bytes, bytes]], tail: bytes, sizes: list[int]
) -> None:
    data = b"".join(noise + framed(content) for noise, content in sent) + tail
    assert cut(data, sizes) == [content for _, content in sent]


def test_an_end_block_without_its_cr_ends_a_frame() -> None:
    assert cut(b"\x0bone\x1c\x0btwo\x1c\n\x0bthree\x1c\r", []) == [b"one", b"two", b"three"]


def test_a_frame_that_begins_again_is_the_later_one() -> None:
    assert cut(b"\x0bhalf a mess\x0bwhole\x1c\r", []) == [b"whole"]


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=40))
def test_any_bytes_keep_at_most_the_cap_and_one_read(chunks: list[bytes]) -> None:
    frames = Frames(100)
    try:
        for chunk in chunks:
            frames.feed(chunk)
            while frames.next() is not None:
                pass
            assert frames.waiting <= 100
    except Overrun:
        assert frames.waiting <= 150


def test_a_frame_over_the_cap_is_an_overrun_whether_or_not_it_ends() -> None:
    for end in (b"", b"\x1c\r"):
        frames = Frames(10)
        frames.feed(b"\x0b" + b"x" * 11 + end)
        with pytest.raises(Overrun):
            frames.next()


def test_a_single_message_is_no_batch() -> None:
    assert unbatched(message()) is None
    assert unbatched(message("ADT^A01", "NTE|1||MSH|in a text")) is None


@pytest.mark.parametrize("end", [b"\r", b"\n", b"\r\n"])
def test_batches_with_and_without_headers(end: bytes) -> None:
    one, two = message(control="1").replace(b"\r", end), message(control="2").replace(b"\r", end)
    plain = unbatched(one + two)
    assert plain is not None
    assert [m.strip() for m in plain.messages] == [one.strip(), two.strip()]
    head, tail = b"FHS|^~\\&|A" + end + b"BHS|^~\\&|B" + end, b"BTS|2" + end + b"FTS|1" + end
    whole = unbatched(head + one + two + tail)
    assert whole is not None
    assert [m.strip() for m in whole.messages] == [one.strip(), two.strip()]
    assert (whole.file.strip(), whole.batch.strip()) == (b"FHS|^~\\&|A", b"BHS|^~\\&|B")
