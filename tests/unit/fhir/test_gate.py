"""The gate's rules, one by one, and the places it names."""

import json
import threading
from typing import Any

import pytest
from msgspec import UNSET

from epicrisis.errors import Malformed
from epicrisis.fhir.gate import Checked, Gate
from epicrisis.fhir.limits import Limits

OBSERVATION = {"resourceType": "Observation", "status": "final", "code": {"text": "x"}}
PATIENT = {"resourceType": "Patient", "id": "p"}


def check(doc: Any, **limits: int) -> Checked:
    return Gate(Limits(**limits)).check(doc if isinstance(doc, bytes) else json.dumps(doc).encode())


def refused(doc: Any, **limits: int) -> tuple[str, str]:
    with pytest.raises(Malformed) as refusal:
        check(doc, **limits)
    return refusal.value.where, refusal.value.message


def bundle(*entries: dict[str, Any], kind: str = "transaction") -> dict[str, Any]:
    return {"resourceType": "Bundle", "type": kind, "entry": list(entries)}


def entry(resource: Any, url: str = "urn:uuid:3cb52497-3f07-4323-897b-aed5fe681d6b") -> dict[str, Any]:
    return {"fullUrl": url, "resource": resource, "request": {"method": "POST", "url": resource["resourceType"]}}


def test_a_single_resource_is_one_entry_with_its_bytes() -> None:
    raw = b'{"resourceType":"Encounter","status":"finished","class":{"code":"AMB"}}'
    checked = check(raw)
    (one,) = checked.entries
    assert (checked.resource_type, checked.raw, one.raw, one.resource_type) == ("Encounter", raw, raw, "Encounter")
    assert one.parsed.class_.code == "AMB"
    assert one.parsed.period is UNSET


def test_a_bundle_gives_each_entry_with_its_own_bytes() -> None:
    created = entry(PATIENT)
    created["request"]["ifNoneExist"] = "identifier=a|b"
    delete = {"request": {"method": "DELETE", "url": "Patient/1"}}
    first, second = check(bundle(created, delete)).entries
    assert json.loads(first.raw or b"") == PATIENT
    assert (first.index, first.method, first.url, first.if_none_exist) == (0, "POST", "Patient", "identifier=a|b")
    assert first.full_url == created["fullUrl"]
    assert (second.index, second.raw, second.parsed, second.method) == (1, None, None, "DELETE")


def test_the_place_inside_a_bundle_is_named() -> None:
    doc = bundle(entry(PATIENT), entry({**PATIENT, "birthDate": "1970-02-31"}, "urn:oid:1.2"))
    where, text = refused(doc)
    assert where == "Bundle.entry[1].resource.birthDate"
    assert text == "it is not written as a FHIR date"
    assert "1970" not in text


@pytest.mark.parametrize(
    ("change", "where", "text"),
    [
        ({"status": "banana"}, "Observation.status", "required value set"),
        ({"status": None}, "Observation.status", "null"),
        ({"bogus": 1}, "Observation", "unknown property"),
        ({"category": []}, "Observation.category", "empty"),
        ({"category": [{}]}, "Observation", "empty"),
        ({"category": {"text": "x"}}, "Observation.category", "wrong JSON type: expected array"),
        ({"valueString": "a", "valueBoolean": True}, "Observation", "at most one of `value[x]`"),
        ({"valueInteger": 2**31}, "Observation.valueInteger", "out of the range"),
        ({"valueQuantity": {"value": "1"}}, "Observation.valueQuantity.value", "wrong JSON type"),
        ({"valueString": ""}, "Observation.valueString", "empty"),
        ({"valueString": "a\x00b"}, "Observation", "control character"),
        ({"id": "a" * 65}, "Observation.id", "FHIR"),
        ({"subject": {"reference": "Slot/1"}}, "Observation.subject.reference", "not a reference to Device or Group"),
        ({"subject": {"reference": "Patient/1 "}}, "Observation.subject.reference", "not a reference"),
        ({"subject": {"reference": "#gone"}}, "Observation", "no contained resource"),
        ({"effectiveDateTime": "2020-01-01T10:00:00"}, "Observation.effectiveDateTime", "FHIR dateTime"),
        ({"_status": {}}, "Observation._status", "id or an extension"),
        ({"extension": [{"url": "a:b"}]}, "Observation.extension[0]", "exactly one value[x]"),
        ({"contained": [{**PATIENT, "birthDate": "x"}]}, "Observation.contained[0].birthDate", "FHIR date"),
        ({"contained": [PATIENT, PATIENT]}, "Observation.contained[1]", "same id"),
        ({"contained": [{"resourceType": "Patient"}]}, "Observation.contained[0]", "needs an id"),
        ({"contained": [{**PATIENT, "contained": [PATIENT]}]}, "Observation.contained[0].contained", "not contain"),
        ({"component": [{"code": {"text": "x"}, "valueString": 5}]}, "Observation.component[0].valueString", "type"),
    ],
)
def test_a_broken_rule_is_named_with_its_place(change: dict[str, Any], where: str, text: str) -> None:
    at, said = refused({**OBSERVATION, **change})
    assert at.startswith(where)
    assert text in said


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"", "well-formed"),
        (b"[]", "JSON object"),
        (b"{}", "`resourceType` is missing"),
        (b'{"resourceType":"Bogus"}', "no FHIR R4 resource"),
        (b'{"resourceType":5}', "wrong JSON type"),
        (b'\xef\xbb\xbf{"resourceType":"Patient"}', "byte order mark"),
        (b'{"resourceType":"Patient","id":"a"} x', "well-formed"),
        (b'{"resourceType":"Patient","id":"a","id":"b"}', "twice"),
        (b'{"resourceType":"Patient","id":"a","i\\u0064":"b"}', "twice"),
        (b'{"resourceType":"Patient","implicitRules":"urn\\u003aa","implicitRules":"b"}', "twice"),
        (b'{"resourceType":"Patient","language":"\xff"}', "UTF-8"),
    ],
)
def test_what_is_no_document_is_refused(raw: bytes, text: str) -> None:
    assert text in refused(raw)[1]


def test_entries_of_a_transaction_need_a_request_and_their_own_full_url() -> None:
    assert refused(bundle({"resource": PATIENT})) == (
        "Bundle.entry[0]",
        "each entry of a transaction or batch Bundle needs a `request`",
    )
    assert refused(bundle(entry(PATIENT), entry(PATIENT)))[0] == "Bundle.entry[1].fullUrl"
    assert "only a transaction" in refused(bundle(entry(PATIENT), kind="collection"))[1]
    assert "needs a resource" in refused(bundle({"fullUrl": "a:b"}, kind="collection"))[1]


def test_duplicates_in_the_frame_of_a_bundle_are_seen() -> None:
    raw = json.dumps(bundle(entry(PATIENT))).encode()
    assert "twice" in refused(raw.replace(b'"method"', b'"url":"Patient","method"'))[1]
    assert "twice" in refused(raw[:-1] + b',"type":"transaction"}')[1]


@pytest.mark.parametrize("hidden", ["a:b", "a\\u003ab"])
def test_the_place_of_what_is_given_twice_is_named_among_many(hidden: str) -> None:
    """A colon written as an escape beside it makes up for the one that the dropped property had."""
    many = [{"resourceType": "Basic", "id": f"b{number}", "code": {"text": "x"}} for number in range(200)]
    twice = f'"id": "b150", "language": "c", "language": "{hidden}"'
    contained = json.dumps({**PATIENT, "contained": many}).replace('"id": "b150"', twice)
    where, text = refused(contained.encode())
    assert (where, "twice" in text) == ("Patient.contained[150]", True)
    sent = bundle(*(entry(one, f"urn:oid:1.{number}") for number, one in enumerate(many)))
    where, text = refused(json.dumps(sent).replace('"id": "b150"', twice).encode())
    assert (where, "twice" in text) == ("Bundle.entry[150].resource", True)


def test_sizes_are_capped() -> None:
    assert "larger than the 20 bytes" in refused(PATIENT, resource=20)[1]
    assert refused(bundle(entry(PATIENT)), resource=20)[0] == "Bundle.entry[0].resource"
    assert "larger than the 50 bytes" in refused(bundle(entry(PATIENT)), bundle=50)[1]
    assert "larger than" in refused(b" " * 60, bundle=50)[1]


def test_resources_in_resources_are_capped() -> None:
    inner: dict[str, Any] = PATIENT
    for _ in range(4):
        inner = bundle({"resource": inner}, kind="collection")
    check(inner)
    for _ in range(4):
        inner = bundle({"resource": inner}, kind="collection")
    assert "nested" in refused(inner)[1]


def test_a_required_value_may_be_given_by_its_sibling() -> None:
    reason = [{"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "unknown"}]
    doc = {k: v for k, v in OBSERVATION.items() if k != "status"} | {"_status": {"extension": reason}}
    assert check(doc).parsed.ext_status.extension[0].valueCode == "unknown"
    assert refused({**doc, "_status": {"id": "x"}, "code": {}})[1]
    assert refused({k: v for k, v in OBSERVATION.items() if k != "status"})[1].endswith("`status` is missing")


def test_a_name_written_with_escapes_is_the_same_name() -> None:
    check(b'{"resourceType":"Patient","\\u005factive":{"id":"x"},"\\u0061ctive":true}')


def test_conditional_references_pass_the_syntax() -> None:
    check({**OBSERVATION, "performer": [{"reference": "Practitioner?identifier=http://a.b|1"}]})


def test_narrative_is_held_to_the_allow_list() -> None:
    def div(content: str) -> dict[str, Any]:
        text = f'<div xmlns="http://www.w3.org/1999/xhtml">{content}</div>'
        return {**PATIENT, "text": {"status": "generated", "div": text}}

    check(div("<p>a</p><br/>" + "<b>x</b>" * 200))
    check(div("<!-- c --><p title='a=\"b\"'>a</p>"))
    for bad, rule in {
        "<script>x</script>": "does not allow",
        "a<p onclick='x'>b</p>": "does not allow",
        "<a href='java&#115;cript:x'>b</a>": "unsafe",
        "": "says nothing",
        "<p>a": "not well-formed",
        "<b>" * 100 + "x" + "</b>" * 100: "too deep",
        "<img alt='/>'/>" + "<b>" * 100 + "x" + "</b>" * 100: "too deep",
    }.items():
        where, text = refused(div(bad))
        assert where == "Patient.text"
        assert rule in text


def test_a_gate_per_thread_shares_the_compiled_types() -> None:
    failures: list[Exception] = []

    def work() -> None:
        try:
            gate = Gate()
            for _ in range(50):
                gate.check(json.dumps(OBSERVATION).encode())
                gate.check(json.dumps({**PATIENT, "_active": {"id": "x"}}).encode())
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
