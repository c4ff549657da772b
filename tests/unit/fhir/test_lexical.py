"""How primitive types are written."""

import pytest

from epicrisis.fhir import lexical

GOOD = {
    "date": "2020 2020-02 2020-02-29 2000-02-29 1999-12-31 0001-01-01",
    "dateTime": "2020 2020-02-29T00:00:00Z 2020-01-01T23:59:60.123+14:00 2020-01-01T00:00:00-00:00",
    "instant": "2020-01-01T00:00:00Z 2020-01-01T00:00:00.1234567890-13:59",
    "time": "00:00:00 23:59:60 12:00:00.5",
    "id": "a A-1.b " + "x" * 64,
    "uuid": "urn:uuid:c757873d-ec9a-4326-a141-556f43239520",
    "oid": "urn:oid:1.2.840.0",
    "base64Binary": "YQ== YWI= YWJj",
    "code": "a a-b +1",
    "absolute URI": "http://a urn:oid:1.2 urn:uuid:c757873d-ec9a-4326-a141-556f43239520 urn:ietf:rfc:3986",
}
BAD = {
    "date": "2021-02-29 1900-02-29 2020-13 2020-1 0000 20200101 2020-04-31 ２０２０",
    "dateTime": "2020-01-01T00:00:00 2020-01-01T00:00Z 2020-01-01T24:00:00Z 2020-01-01T00:00:00+14:01",
    "instant": "2020 2020-01-01 2020-01-01T00:00:00",
    "time": "24:00:00 1:00:00 12:00",
    "id": "a/b ä a_b " + "x" * 65,
    "uuid": "urn:uuid:C757873D-EC9A-4326-A141-556F43239520 c757873d-ec9a-4326-a141-556f43239520",
    "oid": "urn:oid:3.1 urn:oid:1.01 1.2.3",
    "base64Binary": "YQ=== Y-Q= ä",
    "absolute URI": "Patient/1 urn:oid:x urn:uuid:1 /a",
}


@pytest.mark.parametrize(("form", "text"), [(form, text) for form, texts in GOOD.items() for text in texts.split()])
def test_good_texts_pass(form: str, text: str) -> None:
    assert lexical.matches(form)(text)


@pytest.mark.parametrize(("form", "text"), [(form, text) for form, texts in BAD.items() for text in texts.split()])
def test_bad_texts_do_not(form: str, text: str) -> None:
    assert not lexical.matches(form)(text)
    if form != "base64Binary":  # which may have white space anywhere
        assert not lexical.matches(form)(GOOD[form].split()[0] + "\n")


@pytest.mark.parametrize(
    "text",
    [
        *("Patient/1", "Patient/a-b.C/_history/2", "http://h.org/fhir/Patient/1", "Patient?identifier=a|b", "#", "#p"),
        *("urn:uuid:c757873d-ec9a-4326-a141-556f43239520", "urn:oid:1.2.3", "http://h/Foo/bar"),
    ],
)
def test_references_to_a_patient(text: str) -> None:
    assert lexical.is_reference(("Patient",))(text)
    assert lexical.is_reference(())(text)


@pytest.mark.parametrize(
    "text",
    ["Patient", "/Patient/1", "patient/1", "Patient/1/2", "a b", "", "Bogus/1", "http://a b", "x" * 5000, "urn:uuid:1"],
)
def test_no_references(text: str) -> None:
    assert not lexical.is_reference(())(text)


def test_a_reference_to_another_type_is_none() -> None:
    for text in ("Group/1", "http://h.org/Group/1", "https://h.org/x/Group/1/_history/3", "Group?a=b"):
        assert not lexical.is_reference(("Patient",))(text)


def test_a_memo_is_bounded_and_gives_back_plain_strings() -> None:
    calls = []

    def check(text: str) -> bool:
        calls.append(text)
        return text != "bad"

    memo = lexical.memoised("lexical:test", check)
    for number in range(lexical._MEMO_ENTRIES + 10):
        assert memo[str(number)] == str(number)  # type: ignore[index]
    seen = len(calls)
    assert memo[str(number)] == str(number)  # type: ignore[index]
    assert len(calls) == seen
    with pytest.raises(ValueError, match="lexical:test"):
        memo["bad"]  # type: ignore[index]
    with pytest.raises(ValueError, match="wrong-type"):
        memo[5]  # type: ignore[index]
