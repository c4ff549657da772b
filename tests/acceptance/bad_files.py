"""What a hostile or clumsy sender sends, and what they are to be told."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

SECRET = "Zebrafink"
"""Stands in every value that might identify somebody: no message may repeat it."""
Json = dict[str, Any]
MIB = 1024 * 1024
SYSTEM = "urn:oid:2.999.1"


class Bad(NamedTuple):
    """A file, where the problem is said to be, and how (a regular expression)."""

    name: str
    content: bytes | Callable[[Path], None]
    where: str
    why: str


def dumps(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def patient(id_: str, **more: Any) -> Json:
    return {"resourceType": "Patient", "id": id_, "name": [{"family": SECRET}], **more}


def observation(subject: str, **more: Any) -> Json:
    found = {"resourceType": "Observation", "status": "final", "code": {"text": SECRET}, "valueString": SECRET}
    return found | {"subject": {"reference": subject}} | more


def condition(verified: str, **more: Any) -> Json:
    system = "http://terminology.hl7.org/CodeSystem/condition-ver-status"
    return {
        "resourceType": "Condition",
        "id": "c1",
        "subject": {"reference": "Patient/p1"},
        "code": {"text": SECRET},
        "verificationStatus": {"coding": [{"system": system, "code": verified}]},
    } | more


def entry(resource: Json | None, method: str = "POST", url: str | None = None, full_url: str | None = None) -> Json:
    found: Json = {"request": {"method": method, "url": url or (resource or {}).get("resourceType", "")}}
    if resource is not None:
        found["resource"] = resource
    if full_url is not None:
        found["fullUrl"] = full_url
    return found


def bundle(*entries: Json, source: str | None = None) -> Json:
    found: Json = {"resourceType": "Bundle", "type": "transaction", "entry": list(entries)}
    return found | ({"meta": {"source": source}} if source else {})


def identified(value: str) -> Json:
    return {"identifier": [{"system": SYSTEM, "value": value}]}


def nested(depth: int) -> bytes:
    inner = b'{"url":"urn:x","extension":['
    return b'{"resourceType":"Patient","extension":[' + inner * depth + b"]}" * depth + b"]}"


def huge(path: Path) -> None:
    with path.open("wb") as out:
        out.write(b'{"resourceType":"Patient","name":[{"family":"')
        for _ in range(100):
            out.write(b"Z" * MIB)
        out.write(b'"}]}')


def bomb(path: Path) -> None:
    with gzip.open(path, "wb", compresslevel=9) as out:
        out.write(b'{"resourceType":"Patient","name":[{"family":"')
        for _ in range(300):
            out.write(b"Z" * MIB)


GOOD: dict[str, bytes] = {
    "000-ours.json": dumps(
        bundle(
            entry(patient("p1", **identified(f"{SECRET}-1"))),
            entry(patient("p2", **identified(f"{SECRET}-2"))),
            entry(patient("gone", deceasedBoolean=True)),
        )
    ),
    "001-refuted.json": dumps(condition("refuted")),
    "002-theirs.json": dumps(bundle(entry(patient("theirs")), source="urn:epicrisis:clinic:other/main")),
    "003-lines.ndjson": b"\n".join(
        [dumps(observation("Patient/p1", id="l1")), b"", dumps(observation("Patient/p2", id="l2"))]
    ),
    "zzz-good.json": dumps(observation("Patient/p1", id="last")),
    "zzz-good.json.gz": gzip.compress(dumps(observation("Patient/p2", id="lastzip"))),
}
GOOD_RESOURCES = 3 + 1 + 1 + 2 + 1 + 1

GOOD_ENTRY = entry(observation("Patient/p1"))
NOT_JSON = r"not JSON|cannot be read as JSON|JSON"

BAD: list[Bad] = [
    Bad("empty-file.json", b"", "", NOT_JSON),
    Bad("white-space.json", b" \n\t ", "", NOT_JSON),
    Bad("not-json.json", f"{SECRET} was here".encode(), "", NOT_JSON),
    Bad("xml.json", f'<Patient xmlns="http://hl7.org/fhir"><id value="{SECRET}"/></Patient>'.encode(), "", NOT_JSON),
    Bad("cut-off.json", dumps(patient("cut"))[:-3], "", NOT_JSON),
    Bad("trailing.json", dumps(patient("t1")) + dumps(patient("t2")), "", NOT_JSON),
    Bad("an-array.json", dumps([patient("a1")]), "", ""),
    Bad("a-string.json", dumps(SECRET), "", ""),
    Bad(
        "nan.json",
        b'{"resourceType":"Observation","status":"final","code":{"text":"x"},"valueQuantity":{"value":NaN}}',
        "",
        NOT_JSON,
    ),
    Bad("byte-order-mark.json", b"\xef\xbb\xbf" + dumps(patient("bom")), "", "byte order mark"),
    Bad("utf-16.json", dumps(patient("u16")).decode().encode("utf-16"), "", ""),
    Bad("latin-1.json", '{"resourceType":"Patient","name":[{"family":"Zebrafänk"}]}'.encode("latin-1"), "", ""),
    Bad("truncated.json.gz", gzip.compress(dumps(patient("trunc")))[:-12], "truncated.json.gz", "cut off or damaged"),
    Bad(
        "gzip-tail.json.gz",
        gzip.compress(dumps(patient("tail"))) + SECRET.encode(),
        "gzip-tail.json.gz",
        "cut off or damaged",
    ),
    Bad("hundred-megabytes.json", huge, "hundred-megabytes.json", "larger than"),
    Bad("gzip-bomb.json.gz", bomb, "gzip-bomb.json.gz", "larger than"),
    Bad("depth-brackets.json", b'{"resourceType":"Patient","name":' + b"[" * 100_000, "", ""),
    Bad("depth-extensions.json", nested(5_000), "", ""),
    Bad(
        "duplicate-keys.json",
        b'{"resourceType":"Patient","gender":"male","gender":"female"}',
        "Patient",
        "twice|duplicate",
    ),
    Bad("nul-escaped.json", dumps(patient("nul", gender="male")).replace(b"male", b"ma\\u0000le"), "Patient", ""),
    Bad("nul-in-text.json", dumps(patient("nul2")).replace(b"Zebra", b"Zebra\\u0000"), "Patient", ""),
    Bad("nul-raw.json", dumps(patient("nul3")).replace(b"Zebra", b"Zebra\x00"), "", ""),
    Bad("no-type.json", b'{"id":"x"}', "", "resourceType"),
    Bad("unknown-type.json", dumps({"resourceType": SECRET}), "", "names no FHIR R4 resource"),
    Bad("unknown-element.json", dumps(patient("el", zebrafink=SECRET)), "Patient", ""),
    Bad("unknown-code.json", dumps(patient("code", gender=SECRET)), "Patient.gender", ""),
    Bad("bad-date.json", dumps(patient("date", birthDate=f"31.12.{SECRET}")), "Patient.birthDate", ""),
    Bad("long-id.json", dumps(patient("x" * 65)), "Patient.id", ""),
    Bad("path-in-id.json", dumps(patient("../../etc")), "Patient.id", ""),
    Bad(
        "script.json",
        dumps(
            patient(
                "s",
                text={
                    "status": "generated",
                    "div": "<div xmlns='http://www.w3.org/1999/xhtml'><script>1</script></div>",
                },
            )
        ),
        "Patient.text",
        "",
    ),
    Bad(
        "last-entry.json",
        dumps(bundle(GOOD_ENTRY, GOOD_ENTRY, entry(observation("Patient/p1", status="banana")))),
        "Bundle.entry[2].resource.status",
        "",
    ),
    Bad("no-entry.json", dumps({"resourceType": "Bundle", "type": "transaction"}), "Bundle", "no resource"),
    Bad("empty-entries.json", dumps(bundle()), "Bundle.entry", ""),
    Bad(
        "dangling-urn.json",
        dumps(bundle(GOOD_ENTRY, entry(observation(f"urn:uuid:{UUID(int=7)}")))),
        "Bundle.entry[1].resource.subject",
        "names a resource that is not in this message",
    ),
    Bad(
        "dangling-conditional.json",
        dumps(
            bundle(
                GOOD_ENTRY,
                entry(
                    observation("Patient/p1", performer=[{"reference": f"Practitioner?identifier={SYSTEM}|{SECRET}"}])
                ),
            )
        ),
        "Bundle.entry[1].resource.performer[0]",
        "matches no Practitioner",
    ),
    Bad(
        "conditional-by-name.json",
        dumps(observation(f"Patient?name={SECRET}")),
        "Observation.subject",
        "conditional reference must be",
    ),
    Bad(
        "unknown-patient.json",
        dumps(bundle(GOOD_ENTRY, entry(observation(f"Patient/{SECRET}")))),
        "Bundle.entry[1].resource.subject",
        "send the Patient first",
    ),
    Bad(
        "patient-of-another.json",
        dumps(bundle(GOOD_ENTRY, entry(observation("urn:epicrisis:other:Patient/theirs")))),
        "Bundle.entry[1]",
        "belongs to another operator",
    ),
    Bad(
        "dead-alive.json",
        dumps(bundle(GOOD_ENTRY, entry(patient("gone", deceasedBoolean=False), "PUT", "Patient/gone"))),
        "Bundle.entry[1]",
        "dea(d|th)",
    ),
    Bad(
        "confirmed-after-refuted.json",
        dumps(bundle(GOOD_ENTRY, entry(condition("confirmed"), "PUT", "Condition/c1"))),
        "Bundle.entry[1]",
        "refuted|ruled out",
    ),
    Bad(
        "patch.json",
        dumps(bundle(GOOD_ENTRY, entry(patient("p1"), "PATCH", "Patient/p1"))),
        "Bundle.entry[1].request.method",
        "only POST, PUT and DELETE",
    ),
    Bad(
        "get.json",
        dumps(bundle(GOOD_ENTRY, entry(None, "GET", "Patient/p1"))),
        "Bundle.entry[1].request.method",
        "only POST, PUT and DELETE",
    ),
    Bad(
        "operation.json",
        dumps(bundle(GOOD_ENTRY, entry({"resourceType": "Parameters"}, "POST", "Patient/$merge"))),
        "Bundle.entry[1].request.url",
        "operations",
    ),
    Bad(
        "put-elsewhere.json",
        dumps(bundle(GOOD_ENTRY, entry(patient("p1"), "PUT", "Observation/p1"))),
        "Bundle.entry[1].request.url",
        "Type/id",
    ),
    Bad(
        "delete-nothing.json",
        dumps(bundle(GOOD_ENTRY, entry(None, "DELETE", f"Observation/{SECRET}"))),
        "Bundle.entry[1].request.url",
        "no such Observation",
    ),
    Bad(
        "delete-conditional.json",
        dumps(bundle(GOOD_ENTRY, entry(None, "DELETE", f"Patient?identifier={SECRET}"))),
        "Bundle.entry[1].request.url",
        "Type/id",
    ),
    Bad(
        "two-share.json",
        dumps(
            bundle(entry(patient("s1", **identified(f"{SECRET}-3"))), entry(patient("s2", **identified(f"{SECRET}-3"))))
        ),
        "Bundle.entry[1]",
        "belongs? to",
    ),
    Bad(
        "two-without-ids.json",
        dumps(bundle(*[entry({"resourceType": "Patient", **identified(f"{SECRET}-4")})] * 2)),
        "Bundle.entry[1]",
        "belongs? to",
    ),
    Bad(
        "both-of-two.json",
        dumps(
            {
                "resourceType": "Patient",
                "identifier": [*identified(f"{SECRET}-1")["identifier"], *identified(f"{SECRET}-2")["identifier"]],
            }
        ),
        "Patient",
        "belong to 2 different ones",
    ),
    Bad(
        "source-nobody.json",
        dumps(bundle(GOOD_ENTRY, source="urn:epicrisis:clinic:/main")),
        "Bundle.meta.source",
        "operator/site",
    ),
    Bad(
        "source-deep.json",
        dumps(bundle(GOOD_ENTRY, source="urn:epicrisis:clinic:local/main/x")),
        "Bundle.meta.source",
        "operator/site",
    ),
    Bad(
        "source-odd.json",
        dumps(bundle(GOOD_ENTRY, source="urn:epicrisis:clinic:Loc al/main")),
        "Bundle.meta.source",
        "uri",
    ),
    Bad(
        "one-bad-line.ndjson",
        b"\n".join(
            [
                dumps(observation("Patient/p1", id="n1")),
                b"{" + SECRET.encode(),
                dumps(observation("Patient/p1", id="n3")),
            ]
        ),
        "one-bad-line.ndjson line 2",
        NOT_JSON,
    ),
]
GOOD_LINES = 2
