"""Messages as text: separators, line ends, character sets, escapes; the cutting compared with the `hl7` library's."""

from __future__ import annotations

import hl7
import pytest
from hypothesis import given
from hypothesis import strategies as st

from epicrisis.doors.hl7v2.compiled import compiled
from epicrisis.doors.hl7v2.errors import NotMapped, Place
from epicrisis.doors.hl7v2.message import Message, read
from tests.hl7v2 import message

CHARSETS = compiled().charsets


def pid5(raw: bytes) -> str:
    made = read(raw, CHARSETS)
    return made.part(next(s for s in made.segments if s.name == "PID").field(5), 1)


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
def test_any_line_end_with_or_without_a_bom(end: str, bom: bytes) -> None:
    raw = bom + message().decode().replace("\r", end).encode()
    assert [s.name for s in read(raw, CHARSETS).segments] == ["MSH", "PID", "PV1"]


def test_a_line_feed_inside_a_field_is_text_where_segments_end_with_cr() -> None:
    made = read(message("ADT^A01", "NTE|1||first line\nsecond line"), CHARSETS)
    assert made.segments[-1].field(3) == "first line\nsecond line"


@pytest.mark.parametrize(
    ("name", "codec", "family"),
    [
        ("", "utf-8", "Müller"),
        ("UNICODE UTF-8", "utf-8", "김"),
        ("8859/1", "iso8859-1", "Müller"),
        ("8859/15", "iso8859-15", "Œuvre"),
        ("8859/2", "iso8859-2", "Dvořák"),
        ("8859/5", "iso8859-5", "Иванова"),
        ("8859/7", "iso8859-7", "Παπάς"),
        ("cp1251", "cp1251", "Іваненко"),
        ("KS X 1001", "euc_kr", "홍길동"),
        ("GB 18030-2000", "gb18030", "王"),
        ("8859/1~UNICODE", "iso8859-1", "Müller"),
    ],
)
def test_the_character_set_of_msh_18(name: str, codec: str, family: str) -> None:
    raw = message(pid="PID|1||1^^^X^MR||{}^Anna", msh18=name).decode().format(family)
    assert pid5(raw.encode(codec)) == family


def test_a_message_that_is_not_in_its_character_set_is_refused_at_msh_18() -> None:
    for raw in (message(pid="PID|1||1||M\u00fcller").decode().encode("latin-1"), message(msh18="UNICODE UTF-16")):
        with pytest.raises(NotMapped) as refused:
            read(raw, CHARSETS)
        assert refused.value.faults[0].place == Place("MSH", 1, 18)


@pytest.mark.parametrize(
    ("sent", "text"),
    [
        (r"Smith \T\ Sons", "Smith & Sons"),
        (r"a\F\b\S\c\R\d\E\e", "a|b^c~d\\e"),
        (r"one\.br\two", "one\ntwo"),
        (r"\H\bold\N\ text", "bold text"),
        (r"\X4D\\XC3BC\ller", "Müller"),
        (r"C:\temp", r"C:\temp"),
        (r"\Zxx\kept", r"\Zxx\kept"),
        (r"50\X\ %", r"50\X\ %"),
        ('""', ""),
    ],
)
def test_escapes(sent: str, text: str) -> None:
    assert pid5(message(pid=f"PID|1||1||{sent}^A")) == text


def test_other_separators_and_the_truncation_character() -> None:
    raw = message().replace(b"^~\\&", b"^~\\&#")
    assert read(raw, CHARSETS).separators.subcomponent == "&"
    other = message().decode().replace("^~\\&", "*:!$").replace("|", "%").replace("^", "*").encode()
    made = read(other, CHARSETS)
    assert made.type == "ADT^A01"
    assert pid5(other) == "Meier"


@pytest.mark.parametrize(
    "raw", [b"", b"\x00\x01", b"PID|1", b"MSH", b"MSH|^^^^|", b"GET / HTTP/1.1\r\n\r\n", b"MSH|^~\\&|\rrubbish"]
)
def test_what_is_no_message_is_refused(raw: bytes) -> None:
    with pytest.raises(NotMapped):
        read(raw, CHARSETS)


@given(st.binary(max_size=400))
def test_any_bytes_are_a_message_or_refused(rest: bytes) -> None:
    for raw in (rest, b"MSH|^~\\&|" + rest, message() + rest):
        try:
            made = read(raw, CHARSETS)
        except NotMapped:
            continue
        assert made.segments[0].name == "MSH"


TEXT = st.text(st.sampled_from("aZ5 .-^&~\\TXbr"), max_size=12)


@given(st.lists(st.lists(TEXT, min_size=1, max_size=6), min_size=1, max_size=4))
def test_fields_and_parts_are_those_that_the_hl7_library_finds(segments: list[list[str]]) -> None:
    lines = ["ZZ" + str(n) + "|" + "|".join(fields) for n, fields in enumerate(segments)]
    text = "\r".join(["MSH|^~\\&|A|B", *lines, "ZZZ|the end"])
    ours, theirs = Message(text, "utf-8"), hl7.parse(text)
    for segment, fields in zip(ours.segments[1:], segments, strict=False):
        other = theirs.segment(segment.name)
        for number in range(1, len(fields) + 1):
            assert segment.field(number) == (str(other(number)) if number < len(other) else "")
            first = segment.field(number).split("~")[0]
            if "\\" not in first and first == segment.field(number).strip():
                found = theirs.extract_field(segment.name, 1, number, 1, 1, 1)
                assert ours.part(first, 1, 1) == (found or "").strip()
