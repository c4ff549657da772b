"""Valid resources, each broken in one known way (`BROKEN`) or changed without harm (`HARMLESS`).

A maker takes a parsed resource and a random source, and returns the text, or None where it finds no place for its kind.
It may change the resource it was given.
"""

import json
from collections.abc import Callable, Iterator
from random import Random
from typing import Any, NamedTuple

from epicrisis.fhir.spec import PRIMITIVES, Element, has_sibling, types

Doc = dict[str, Any]
Maker = Callable[[Doc, Random], "bytes | None"]
BROKEN: dict[str, Maker] = {}
HARMLESS: dict[str, Maker] = {}
ABSENT = {"extension": [{"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "unknown"}]}
STRINGS = {"string", "markdown"}
DATES = {"date", "dateTime", "instant"}
NUMBERS = {"decimal", "integer", "positiveInt", "unsignedInt"}
URIS = {"uri", "url", "canonical"}


class Site(NamedTuple):
    """A member of an object somewhere in the resource."""

    holder: Doc
    element: Element
    owner: str

    @property
    def value(self) -> Any:
        found = self.holder[self.element.name]
        return found[0] if isinstance(found, list) else found

    def set(self, value: Any) -> None:
        if isinstance(self.holder[self.element.name], list):
            self.holder[self.element.name][0] = value
        else:
            self.holder[self.element.name] = value

    @property
    def has_sibling(self) -> bool:
        return "_" + self.element.name in self.holder


def sites(value: Any, name: str) -> Iterator[Site]:
    if not isinstance(value, dict):
        return
    if name == "Resource":
        name = value.get("resourceType", "")
    kind = types().get(name)
    for element in kind.elements if kind else ():
        if element.name in value:
            yield Site(value, element, name)
            found = value[element.name]
            for item in found if isinstance(found, list) else [found]:
                yield from sites(item, element.type)


def dump(doc: Any) -> bytes:
    return json.dumps(doc, ensure_ascii=False).encode()


def _register(table: dict[str, Maker], where: Callable[[Site], Any], change: Callable[[Site, Random], Any]) -> Maker:
    def make(doc: Doc, random: Random) -> bytes | None:
        found = [site for site in sites(doc, doc["resourceType"]) if where(site)]
        if not found:
            return None
        change(random.choice(found), random)
        return dump(doc)

    return make


def _broken(name: str, where: Callable[[Site], Any], change: Callable[[Site, Random], Any]) -> None:
    BROKEN[name] = _register(BROKEN, where, change)


def _harmless(name: str, where: Callable[[Site], Any], change: Callable[[Site, Random], Any]) -> None:
    HARMLESS[name] = _register(HARMLESS, where, change)


def _text(kinds: set[str]) -> Callable[[Site], Any]:
    return lambda s: s.element.type in kinds and isinstance(s.value, str)


def _put(*values: Any) -> Callable[[Site, Random], Any]:
    return lambda s, r: s.set(r.choice(values))


def _drop(site: Site, _: Random) -> None:
    del site.holder[site.element.name]


def _whole(make: Callable[[Any], Any]) -> Callable[[Site, Random], Any]:
    return lambda s, _: s.holder.update({s.element.name: make(s.holder[s.element.name])})


def _is_reference(site: Site) -> bool:
    return site.element.type == "Reference" and isinstance(site.value, dict)


def _wrong_target(site: Site, _: Random) -> None:
    site.value.pop("type", None)
    site.value["reference"] = "Slot/1" if "Slot" not in site.element.targets else "VisionPrescription/1"


def _second_choice(site: Site, _: Random) -> None:
    group = [e for e in types()[site.owner].elements if e.choice == site.element.choice and e.name != site.element.name]
    samples = {
        **{"string": "x", "boolean": True, "dateTime": "2020", "uri": "a:b", "Period": {"start": "2020"}},
        **{"CodeableConcept": {"text": "x"}, "Reference": {"display": "x"}, "Range": {"low": {"value": 1}}},
        **{"Quantity": {"value": 1}, "Age": {"value": 1}, "date": "2020", "integer": 1, "code": "x"},
    }
    other = next((e for e in group if e.type in samples), None)
    if other is None:
        site.holder["bogus"] = True
    else:
        site.holder[other.name] = samples[other.type]


_primitive_text = PRIMITIVES - NUMBERS - {"boolean", "xhtml"}
_broken("unknown property", lambda s: True, lambda s, _: s.holder.update(bogus="x"))
_broken("required gone", lambda s: s.element.required and not s.element.choice and not s.has_sibling, _drop)
_broken("number for a string", _text(set(_primitive_text)), _put(5))
_broken("string for a number", lambda s: s.element.type in NUMBERS, lambda s, _: s.set(str(s.value)))
_broken("string for a boolean", lambda s: s.element.type == "boolean", lambda s, _: s.set(str(s.value).lower()))
_broken("single for an array", lambda s: s.element.many, _whole(lambda v: v[0]))
_broken("array for a single", lambda s: not s.element.many, _whole(lambda v: [v]))
_broken("empty array", lambda s: s.element.many, _whole(lambda v: []))
_broken("empty object", lambda s: isinstance(s.value, dict) and s.element.type != "Resource", _put({}))
_broken("null", lambda s: not s.has_sibling, _whole(lambda v: None))
_broken("null in an array", lambda s: s.element.many and not s.has_sibling, _whole(lambda v: [None]))
_broken("foreign code", lambda s: s.element.codes, _put("banana"))
_broken("wrong target", lambda s: _is_reference(s) and s.element.targets, _wrong_target)
_broken(
    "no reference",
    _is_reference,
    lambda s, r: s.value.update(
        reference=r.choice(["a b", "Patient", "/Patient/1", "Patient/1/2", "Patient/" + "a" * 65, "patient/1", ""])
    ),
)
_broken(
    "no date",
    _text(DATES),
    _put(
        *("2021-02-29", "2021-04-31", "2021-13", "2021-1-1", "20210101", "2021-01-01T10:00:00", "0000", "٢٠٢١"),
        *("2021-01-01T25:00:00Z", "2021-01-01 10:00:00Z", "2021-01-01T10:00Z", "1900-02-29", "2021-01-01\n"),
    ),
)
_broken("space in a uri", _text(URIS), lambda s, _: s.set(s.value + " x"))
_broken("blanks in a code", lambda s: _text({"code"})(s) and not s.element.codes, _put(" x", "x ", "x  y", "", "x\n"))
_broken("two of a choice", lambda s: s.element.choice and s.owner != "Extension", _second_choice)
_broken("NUL", _text(STRINGS), _put("a\u0000b"))
_broken("control character", _text(STRINGS), _put("a\u001bb"))
_broken("empty string", _text(STRINGS), _put(""))
_broken("out of range", lambda s: s.element.type in NUMBERS - {"decimal"}, _put(1.5, 2**31, -(2**31) - 1, 1.0))
_broken(
    "sibling of another length",
    lambda s: s.element.many and s.element.type in PRIMITIVES and not s.has_sibling,
    lambda s, _: s.holder.update({"_" + s.element.name: [{"id": "x"}] * (len(s.holder[s.element.name]) + 1)}),
)


def _with(**members: Any) -> Maker:
    return lambda doc, _: dump({**doc, **members})


def _extended(*extensions: Doc) -> Maker:
    def make(doc: Doc, _: Random) -> bytes | None:
        kind = types()[doc["resourceType"]]
        if kind.element("extension") is None:
            return None
        return dump({**doc, "extension": [*doc.get("extension", []), *extensions]})

    return make


def _deep_extension() -> Doc:
    inner: Doc = {"url": "a", "valueString": "x"}
    for _ in range(60):
        inner = {"url": "a", "extension": [inner]}
    return inner


_INNER = {"url": "b", "valueString": "c"}
BROKEN["long id"] = _with(id="a" * 65)
BROKEN["bad id"] = lambda doc, r: dump({**doc, "id": r.choice(["a b", "a/b", "ä", "", "a\n"])})
BROKEN["extension with both"] = _extended({"url": "http://e.org/x", "valueString": "a", "extension": [_INNER]})
BROKEN["extension with nothing"] = _extended({"url": "http://e.org/x"})
BROKEN["deep extension"] = _extended(_deep_extension())
_UNSAFE = [
    *(
        "<script>alert(1)</script>",
        '<p onclick="x()">b</p>',
        '<a href="javascript:x">b</a>',
        '<iframe src="http://x"/>',
    ),
    *("<form><input/></form>", "<p>b", "<style>p{}</style>", "<object/>", "<![CDATA[<script>]]>", "<?x y?>"),
    *('<a href=" java&#115;cript:x">b</a>', "<b>" * 100 + "x" + "</b>" * 100, "&nbsp;"),
]


def _narrative(content: str) -> Doc:
    return {"status": "generated", "div": f'<div xmlns="http://www.w3.org/1999/xhtml">a{content}</div>'}


BROKEN["unsafe narrative"] = lambda doc, r: dump({**doc, "text": _narrative(r.choice(_UNSAFE))})


def _text_level(name: str) -> Callable[[Maker], Maker]:
    def register(make: Maker) -> Maker:
        BROKEN[name] = make
        return make

    return register


@_text_level("duplicate")
def _duplicate(doc: Doc, random: Random) -> bytes:
    name = random.choice(list(doc))
    return dump(doc)[:-1] + b", " + dump(name) + b": " + dump(doc[name]) + b"}"


@_text_level("duplicate inside")
def _duplicate_inside(doc: Doc, random: Random) -> bytes | None:
    found = [s for s in sites(doc, doc["resourceType"]) if s.holder is not doc]
    if not found:
        return None
    site = random.choice(found)
    member = dump({site.element.name: site.holder[site.element.name]})[1:-1]
    site.holder["@@"] = 0
    return dump(doc).replace(b'"@@": 0', member, 1)


@_text_level("duplicate behind an escaped colon")
def _masked(doc: Doc, random: Random) -> bytes | None:
    found = [s for s in sites(doc, doc["resourceType"]) if s.element.type == "uri" and ":" in str(s.value)]
    if not found:
        return None
    value = dump(random.choice(found).value)
    text = dump(doc).replace(value, value.replace(b":", b"\\u003a", 1), 1)
    return text[:-1] + b',"resourceType":' + dump(doc["resourceType"]) + b"}"


@_text_level("duplicate with an escaped name")
def _escaped(doc: Doc, _: Random) -> bytes:
    return dump(doc)[:-1] + b', "resourceTyp\\u0065": ' + dump(doc["resourceType"]) + b"}"


def _tail(tail: bytes) -> Maker:
    return lambda doc, _: dump({k: v for k, v in doc.items() if k != "language"})[:-1] + b',"language":' + tail + b"}"


BROKEN["cut off"] = lambda doc, r: dump(doc)[: r.randrange(20, len(dump(doc)) - 1)]
BROKEN["trailing"] = lambda doc, r: dump(doc) + r.choice([b" {}", b"x", b","])
BROKEN["invalid UTF-8"] = _tail(b'"\xff"')
BROKEN["lone surrogate"] = _tail(b'"\\ud800"')
BROKEN["NaN"] = _tail(b"NaN")
BROKEN["byte order mark"] = lambda doc, _: b"\xef\xbb\xbf" + dump(doc)
BROKEN["no resourceType"] = lambda doc, _: dump({k: v for k, v in doc.items() if k != "resourceType"})
BROKEN["unknown resourceType"] = lambda doc, _: dump({**doc, "resourceType": "Bogus"})


def _shuffled(value: Any, random: Random) -> Any:
    if isinstance(value, dict):
        members = [(k, _shuffled(v, random)) for k, v in value.items()]
        random.shuffle(members)
        return dict(members)
    return [_shuffled(v, random) for v in value] if isinstance(value, list) else value


_AWKWARD = '한국어 ü \u2028 é : "_x": {} [] null #_ \\'
HARMLESS["shuffled"] = lambda doc, r: dump(_shuffled(doc, r))
HARMLESS["indented"] = lambda doc, _: json.dumps(doc, indent=3).encode()
HARMLESS["spaced"] = lambda doc, _: json.dumps(doc, separators=(" , ", " : ")).encode()
_awkward = HARMLESS["awkward text"] = _extended({"url": "http://e.org", "valueString": _AWKWARD})
HARMLESS["awkward text, escaped"] = lambda doc, r: (made := _awkward(doc, r)) and json.dumps(json.loads(made)).encode()


def _extensible(site: Site) -> bool:
    return has_sibling(site.owner, site.element) and not site.has_sibling


def _only_sibling(site: Site, random: Random) -> None:
    _drop(site, random)
    site.holder["_" + site.element.name] = ABSENT


_harmless(
    "sibling",
    lambda s: _extensible(s) and not s.element.many,
    lambda s, _: s.holder.update({"_" + s.element.name: ABSENT}),
)
_harmless(
    "sibling instead of a required value",
    lambda s: _extensible(s) and s.element.required and not s.element.many,
    _only_sibling,
)
_harmless("sibling instead of a choice", lambda s: _extensible(s) and s.element.choice, _only_sibling)
_harmless(
    "null beside a sibling",
    lambda s: _extensible(s) and s.element.many,
    lambda s, _: s.holder.update(
        {
            "_" + s.element.name: [None] * len(s.holder[s.element.name]) + [ABSENT],
            s.element.name: [*s.holder[s.element.name], None],
        }
    ),
)
_PARTIAL = ("2020", "2020-02", "2020-02-29", "2000-02-29", "0001-01-01")
_harmless("dates", _text({"date", "dateTime"}), _put(*_PARTIAL))
_harmless(
    "moments",
    _text({"dateTime", "instant"}),
    _put("2016-12-31T23:59:60Z", "2020-01-01T00:00:00.123456789+14:00", "1890-01-01T00:00:00-00:00"),
)


def _decimals(doc: Doc, random: Random) -> bytes | None:
    found = [s for s in sites(doc, doc["resourceType"]) if s.element.type == "decimal"]
    if not found:
        return None
    random.choice(found).set("@@")
    number = random.choice([b"1.50", b"0", b"-0.0", b"1e2", b"1E-10", b"100000000000000000000.25", b"0.00"])
    return dump(doc).replace(b'"@@"', number, 1)


HARMLESS["decimals"] = _decimals


def _good_reference(site: Site, random: Random) -> None:
    target = random.choice(site.element.targets)
    site.value.pop("type", None)
    site.value["reference"] = random.choice(
        [
            *(f"{target}/1", f"{target}/a-b.C/_history/2", f"http://h.org/fhir/{target}/1", f"{target}?identifier=a|b"),
            *("urn:uuid:c757873d-ec9a-4326-a141-556f43239520", "urn:oid:1.2.3", "http://h/Foo/bar"),
        ]
    )


_harmless("references", lambda s: _is_reference(s) and s.element.targets, _good_reference)
