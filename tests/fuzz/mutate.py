"""Mutations of bytes: of any text, and of JSON as such."""

from __future__ import annotations

import json
from random import Random
from typing import Any

PIECES = [
    *(
        b"{",
        b"}",
        b"[",
        b"]",
        b'"',
        b":",
        b",",
        b"\\",
        b"\\u0000",
        b"\\ud800",
        b"\xff",
        b"\x00",
        b"\xef\xbb\xbf",
        b"null",
    ),
    *(b"|", b"^", b"~", b"&", b"\r", b"\n", b"\x0b", b"\x1c", b"MSH|^~\\&|", b"PID|", b"\\.br\\", b"\\X41\\", b"BHS|"),
    *(
        b"#",
        b"Patient/1",
        b"urn:uuid:",
        b"urn:epicrisis:",
        b"?identifier=",
        b"/_history/1",
        b"1e999",
        b"-0",
        b'"_id":{},',
    ),
]
VALUES: list[Any] = [
    *(
        None,
        True,
        False,
        0,
        -1,
        2**31,
        1.5,
        1e300,
        "",
        " ",
        "a",
        "\u0000",
        "x" * 300,
        "2020-02-30",
        "2020",
        [],
        {},
        [None],
    ),
    *("Patient/1", "#a", "urn:uuid:00000000-0000-4000-8000-000000000001", "Patient?identifier=a|b", "entered-in-error"),
    *({"reference": "Patient/p1"}, {"extension": [{"url": "a:b", "valueString": "x"}]}, {"coding": [{"code": "x"}]}),
    {"resourceType": "Patient", "id": "p1"},
]


def mutated(seeds: list[bytes], random: Random) -> bytes:
    """One of the seeds, changed a few times."""
    raw = random.choice(seeds)
    for _ in range(random.randrange(1, 4)):
        raw = (_json(raw, seeds, random) if random.random() < 0.6 else None) or _bytes(raw, seeds, random)
    return raw[:50_000]


def _bytes(raw: bytes, seeds: list[bytes], random: Random) -> bytes:
    at, to = sorted(random.randrange(len(raw) + 1) for _ in range(2))
    to = min(to, at + random.choice((1, 4, 40, 400)))
    match random.randrange(5):
        case 0:
            return raw[:at] + random.choice(PIECES) + raw[at:]
        case 1:
            return raw[:at] + raw[to:]
        case 2:
            return raw[:to] + raw[at:to] * random.randrange(1, 4) + raw[to:]
        case 3:
            return raw[:at] + bytes([random.randrange(256)]) + raw[at + 1 :]
        case _:
            other = random.choice(seeds)
            return raw[:at] + other[random.randrange(len(other) + 1) :]


def _json(raw: bytes, seeds: list[bytes], random: Random) -> bytes | None:
    """A value replaced, taken away, moved or doubled; None where it is no JSON object."""
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    holders = list(_holders(document))
    if not holders:
        return None
    holder = random.choice(holders)
    key = random.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
    match random.randrange(4):
        case 0:
            holder[key] = random.choice(VALUES)
        case 1:
            del holder[key]
        case 2:
            other = random.choice(holders)
            values = list(other.values()) if isinstance(other, dict) else other
            holder[key] = json.loads(json.dumps(random.choice(values)))
        case _:
            if isinstance(holder, list):
                holder.insert(key, holder[key])
            else:
                holder[random.choice((f"_{key}", "id", "bogus", "extension", "status"))] = holder[key]
    return json.dumps(document, ensure_ascii=random.random() < 0.5).encode("utf-8", "surrogatepass")


def _holders(value: Any) -> list[Any]:
    found: list[Any] = []
    todo = [value]
    while todo:
        one = todo.pop()
        if isinstance(one, dict | list) and one:
            found.append(one)
            todo += one.values() if isinstance(one, dict) else one
    return found
