"""Resources that are made to be costly: deep, wide, long, doubled, and what is hard for parsers and patterns."""

from collections.abc import Iterator

PATIENT = b'{"resourceType":"Patient","%s":%s}'
_DIV = b'<div xmlns=\\"http://www.w3.org/1999/xhtml\\">%s</div>'
_TEXT = b'{"status":"generated","div":"%s"}'
_REQUEST = b'"request":{"method":"POST","url":"Patient"}}'
_BUNDLE = b'{"resourceType":"Bundle","type":"transaction","entry":[%s]}'


def inputs(size: int) -> Iterator[tuple[str, bytes]]:
    """Name and text, about `size` bytes each."""

    yield "hashes", PATIENT % (b"language", b'"' + b"#" * size + b' "')
    yield "quote hashes", PATIENT % (b"name", b"[" + b'{"family":"#"},' * (size // 16) + b'{"family":1}]')
    yield (
        "local refs",
        PATIENT % (b"generalPractitioner", b"[" + b'{"reference":"#a"},' * (size // 19) + b'{"reference":"#a"}]'),
    )
    yield (
        "wide dup late",
        PATIENT % (b"name", b"[" + b'{"family":"x"},' * (size // 16) + b'{"family":"a","family":"b"}]'),
    )
    yield "many dups", PATIENT % (b"name", b"[" + b'{"family":"a","family":"b"},' * (size // 29) + b'{"family":"c"}]')
    yield "same key", b'{"resourceType":"Patient",' + b'"id":"a",' * (size // 9) + b'"id":"b"}'
    yield "huge int", PATIENT % (b"multipleBirthInteger", b"9" * size)
    yield "huge float", PATIENT % (b"extension", b'[{"url":"a:b","valueDecimal":' + b"1." + b"9" * size + b"},1]")
    yield "huge exp", PATIENT % (b"extension", b'[{"url":"a:b","valueDecimal":1e' + b"9" * size + b"}]")
    yield "many floats", PATIENT % (b"extension", b"[" + b'{"url":"a:b","valueDecimal":1e400},' * (size // 36) + b"1]")
    yield (
        "bad dates",
        PATIENT % (b"contact", b"[" + b'{"period":{"start":"2020-02-29T10:00:00.%s"}},1]' % (b"0" * size)),
    )
    yield (
        "uniq dates",
        PATIENT
        % (
            b"contact",
            b"["
            + b",".join(
                b'{"period":{"start":"20%02d-02-2%dT10:00:00.%06dZ"}}' % (i % 99, i % 8, i) for i in range(size // 62)
            )
            + b",1]",
        ),
    )
    yield "base64 long", PATIENT % (b"photo", b'[{"data":"' + b"A " * (size // 2) + b'!"}]')
    yield "base64 equals", PATIENT % (b"photo", b'[{"data":"' + b"=" * size + b'"}]')
    yield "code spaces", PATIENT % (b"language", b'"' + b"a  " * (size // 3) + b'"')
    yield "uri long", PATIENT % (b"implicitRules", b'"' + b"a" * size + b' "')
    yield (
        "ref long path",
        PATIENT % (b"managingOrganization", b'{"reference":"http://' + b"a/" * (size // 2) + b'Patient/1"}'),
    )
    yield (
        "refs 4k",
        PATIENT
        % (
            b"generalPractitioner",
            b"["
            + b",".join(b'{"reference":"http://%s%d/Slot/1"}' % (b"a/" * 2000, i) for i in range(size // 4050))
            + b"]",
        ),
    )
    yield (
        "refs 4k ok",
        PATIENT
        % (
            b"generalPractitioner",
            b"["
            + b",".join(
                b'{"reference":"x:%s%d/Practitionex/1"}' % (b"/Practitioner" * 300, i) for i in range(size // 3950)
            )
            + b",1]",
        ),
    )
    yield "oid", PATIENT % (b"identifier", b'[{"system":"urn:oid:' + b"1." * (size // 2) + b' "}]')
    yield (
        "full family",
        PATIENT % (b"_active", b'{"extension":[' + b'{"url":"a:b","valueString":"x"},' * (size // 33) + b"1]}"),
    )
    yield (
        "full nulls",
        b'{"resourceType":"Patient","name":[{"given":['
        + b"null," * (size // 10)
        + b'"a"],"_given":['
        + b'{"id":"a"},' * (size // 22)
        + b"1]}]}",
    )
    yield "escapes", PATIENT % (b"language", b'"' + b"\\u0061" * (size // 6) + b' "')
    yield "risky", PATIENT % (b"name", b"[" + b'{"family":"\\u003a"},' * (size // 21) + b'{"family":1}]')
    yield (
        "risky ok dup",
        PATIENT % (b"name", b"[" + b'{"family":"\\u003a"},' * (size // 21) + b'{"family":"a","family":"b"}]'),
    )
    yield "backslashes", PATIENT % (b"language", b'"' + b"\\\\" * (size // 2) + b' "')

    for name, inside in {
        "nb": b"<b>x</b>" * (size // 8) + b"<script/>",
        "lt": b"<" * size,
        "attrs": b"<p " + b"a=\\'b\\' " * (size // 10) + b">x</p>",
        "attrs2": b"<p " + b" ".join(b"a%d=\\'b\\'" % i for i in range(size // 14)) + b">x</p>",
        "sp": b"<p" + b" " * size + b">x</p><q>",
        "comments": b"<!-- c -->" * (size // 10) + b"<x/>",
        "cend": b"<!--" + b"-" * size,
        "amp": b"&lt;" * (size // 4) + b"<x/>",
        "ent": b"&a;" * (size // 3),
        "href": b"<a href=\\'&#106;avascript:\\'>x</a>" * (size // 38),
        "style": b"<p style=\\'" + b"expression " * (size // 11) + b"\\'>x</p><x/>",
        "style2": b"<p style=\\'expression" + b" " * size + b"\\'>x</p><x/>",
        "hrefsp": b"<a href=\\'" + b" " * size + b"x\\'>x</a><x/>",
        "deep": b"<b>" * (size // 7) + b"</b>" * (size // 7),
        "empty": b"<b> </b>" * (size // 8),
        "eq": b"<p>" + b"href= " * (size // 6) + b"</p><x/>",
        "dq": b"<p>" + b"href='" * (size // 6) + b"</p><x/>",
    }.items():
        yield f"div {name}", PATIENT % (b"text", _TEXT % (_DIV % inside))
    yield (
        "doctype",
        PATIENT % (b"text", _TEXT % (b'<!DOCTYPE d [<!ENTITY a \\"aaaaaaaaaa\\">]>' + _DIV % (b"&a;" * (size // 3)))),
    )
    yield "div root", PATIENT % (b"text", _TEXT % (b"<div " + b"a" * size))
    yield "div nostart", PATIENT % (b"text", _TEXT % (b" " * size))
    yield "deep ext", PATIENT % (b"extension", b'[{"url":"a:b","extension":' * (size // 26))
    yield "wide unknown", b'{"resourceType":"Patient",' + b",".join(b'"a%07d":1' % i for i in range(size // 12)) + b"}"
    yield (
        "contained",
        PATIENT
        % (
            b"contained",
            b"["
            + b",".join(b'{"resourceType":"Basic","id":"a%d","code":{"text":"x"}}' % i for i in range(size // 62))
            + b",1]",
        ),
    )
    yield (
        "contained dup",
        PATIENT
        % (
            b"contained",
            b"["
            + b",".join(b'{"resourceType":"Basic","id":"a%d","code":{"text":"x"}}' % i for i in range(size // 62))
            + b',{"resourceType":"Basic","id":"x","id":"y","code":{"text":"x"}}]',
        ),
    )
    yield "spaces first", b" " * size + b'{"resourceType":"Patient","x":1}'
    yield "type last", b"{" + b'"id":"a",' * (size // 9) + b'"resourceType":"Patient"}'
    yield "type unknown long", b'{"resourceType":"' + b"A" * size + b'"}'
    yield (
        "params",
        b'{"resourceType":"Parameters","parameter":['
        + b'{"name":"a","valueString":"b"},' * (size // 32)
        + b'{"name":"a","valueString":"b","valueInteger":1}]}',
    )
    yield (
        "params res",
        b'{"resourceType":"Parameters","parameter":['
        + b'{"name":"a","resource":{"resourceType":"Patient"}},' * (size // 51)
        + b"1]}",
    )
    yield "utf8", PATIENT % (b"language", b'"' + b"\xc3\xa4" * (size // 2) + b'\xff"')
    yield "zeros", bytes(size)

    yield (
        "bundle many",
        _BUNDLE
        % (
            b",".join(
                b'{"fullUrl":"a:%d","resource":{"resourceType":"Patient"},"request":{"method":"POST","url":"Patient"}}'
                % i
                for i in range(size // 98)
            )
            + b',{"fullUrl":"a:1","resource":{"resourceType":"Patient","id":1},'
            + _REQUEST
        ),
    )
    yield (
        "bundle same",
        _BUNDLE
        % (
            b'{"fullUrl":"a:1","resource":{"resourceType":"Patient"},"request":{"method":"POST","url":"Patient"}},'
            * (size // 98)
            + b'{"resource":{"resourceType":"Patient"}}'
        ),
    )
    yield (
        "bundle dup",
        _BUNDLE
        % (
            b",".join(
                b'{"fullUrl":"a:%d","resource":{"resourceType":"Patient"},"request":{"method":"POST","url":"Patient"}}'
                % i
                for i in range(size // 98)
            )
            + b',{"fullUrl":"b:1","fullUrl":"b:2","resource":{"resourceType":"Patient"},'
            + _REQUEST
        ),
    )
    yield "bundle null", _BUNDLE % (b'{"fullUrl":"a:1","resource":null},' * (size // 34) + b"1")
