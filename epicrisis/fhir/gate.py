"""The gate: the one strict check of everything that comes from outside, at about the cost of parsing it.

    checked = Gate().check(raw)             # Malformed where it breaks a rule, with the place
    for entry in checked.entries:           # a single resource is one entry
        entry.raw, entry.parsed, entry.full_url, entry.method, entry.url

Structure, cardinality, choice groups, required bindings, lexical forms, reference syntax and target type, contained
resources, narrative, duplicate keys, limits: R4. Terminology, profiles and resolution are not its business. It stops at
the first problem; `problems.problems` lists them all.

One Gate per thread at a time: it owns a scratch buffer. The compiled Structs behind it are shared.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

from . import exact, structs
from .dropped import Dropped, nothing, suspects, without
from .limits import Limits
from .rules import Fault, fault_of, guarded
from .spec import types

Check = Callable[[str, Struct, bytes], None]  # resource type, parsed, raw; raises Malformed

_MAX_INSIDE = 4  # resources inside resources: a Bundle in a Bundle, Parameters in Parameters
_TO_DO = frozenset(("transaction", "batch"))
_WITH_REQUEST = _TO_DO | {"history"}


class Entry(Struct, gc=False):
    """One entry of a Bundle, or a resource that came alone. Attributes of `parsed` are FHIR's element names."""

    index: int
    full_url: str | None
    method: str | None
    url: str | None
    if_none_exist: str | None
    raw: bytes | None
    parsed: Any  # the Struct of the resource: its class is made at run time
    resource_type: str | None
    if_match: str | None = None


class Checked(Struct, gc=False):
    """What passed the gate. `raw` is what was checked; `layout` what its entries' bytes lack of what was sent, `unit`
    how many blanks a level it lacks itself.
    """

    resource_type: str
    raw: bytes
    parsed: Any  # as in Entry
    entries: list[Entry]
    layout: int | None = None
    unit: int = 0

    def pass_on(self, checks: Sequence["Check"]) -> None:
        """Run an operator's own checks on each resource; the first that it does not pass raises `Malformed`."""
        for entry in self.entries if checks else ():
            if entry.raw is not None:
                for check in checks:
                    check(entry.resource_type or "", entry.parsed, entry.raw)


class _Head(Struct):
    resourceType: str | UnsetType = UNSET


_head = msgspec.json.Decoder(_Head).decode
_type_first = re.compile(rb'\A[ \t\r\n]*\{[ \t\r\n]*"resourceType"[ \t\r\n]*:[ \t\r\n]*"([A-Za-z]+)"').match
_ends_with_reference = re.compile(rb'"reference"[ \t\r\n]*:[ \t\r\n]*"\Z').search
_local_reference = re.compile(rb'"reference"[ \t\r\n]*:[ \t\r\n]*"#([^"]*)').finditer
_QUOTE, _HASH = b'"#'  # as numbers: `in` finds these in a fifth of the time
_FEW = 32

_ELSEWHERE = msgspec.Raw(b"0")  # stands for a resource that was checked by itself

_Kind = tuple[Callable[[bytes], Any], bool, bool]  # plain decoder; is it Parameters; has it `contained`
_Inside = Literal["", "resource", "contained"]


class Gate:
    """Checks FHIR R4 JSON."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._kinds: dict[bytes, _Kind] = {}
        self._dropped = Dropped()

    def check(self, raw: bytes) -> Checked:
        """Check one resource, or a Bundle with all its entries. Raises `Malformed` with `where`, without any value."""
        root = ""
        try:
            key = self._type(raw)
            root = key.decode()
            if key == b"Bundle":
                parsed, entries = self._bundle(raw, 0)
            else:
                parsed = self._resource(raw, key, 0, "")
                entries = [Entry(0, None, None, None, None, raw, parsed, root)]
        except Fault as fault:
            raise fault.refusal(root) from None
        return Checked(root, raw, parsed, entries)

    def _type(self, raw: bytes) -> bytes:
        """The resource type, before anything else is looked at."""
        if raw.startswith(b'{"resourceType":"'):
            key = raw[17 : raw.find(b'"', 17, 100)]
        elif found := _type_first(raw):
            key = found[1]
        else:
            key = self._type_of_anything(raw)
        if key not in self._kinds:
            self._add_kind(key)
        return key

    def _type_of_anything(self, raw: bytes) -> bytes:
        if len(raw) > self.limits.bundle:
            raise Fault("too-large", str(self.limits.bundle))
        if raw.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
            raise Fault("bom")
        head = guarded(_head, raw)
        if head.resourceType is UNSET:
            raise Fault("no-type")
        return str(head.resourceType).encode()

    def _add_kind(self, key: bytes) -> None:
        name = key.decode("ascii", "replace")
        kind = types().get(name)
        if kind is None or not kind.resource:
            raise Fault("unknown-type")
        self._kinds[key] = (structs.plain().decoder(name), name == "Parameters", kind.element("contained") is not None)

    def _resource(self, raw: bytes, key: bytes, level: int, inside: _Inside) -> Any:
        """Check one resource whose type is known; its Struct."""
        parsed, sure = self._parsed(raw, key, level, inside)
        if not sure:
            self._dropped.check_resource(parsed, raw, self._kinds[key][0])
        return parsed

    def _parsed(self, raw: bytes, key: bytes, level: int, inside: _Inside) -> tuple[Any, bool]:
        """The same without the look for what the decoder drops; and whether it is sure that nothing was."""
        if len(raw) > self.limits.resource:
            raise Fault("too-large", str(self.limits.resource))
        decode, is_parameters, has_contained = self._kinds[key]
        exactly = False
        try:
            parsed = decode(raw)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            # a `_field`, or a null beside one, perhaps written with an escape: the full family decides
            exactly = b'"_' in raw or b"null" in raw or b"\\u005" in raw
            if not exactly or not isinstance(error, msgspec.ValidationError):
                raise fault_of(error, raw) from None
            parsed = guarded(structs.full().decoder(key.decode()), raw)
            exact.check(raw)
        if is_parameters:
            self._parameters(parsed.parameter, level, ".parameter")
        elif has_contained and (parsed.contained is not UNSET or (inside != "contained" and _HASH in raw)):
            self._contained(raw, parsed, level, inside)
        return parsed, exactly

    def _inner(self, raw: bytes, path: str, level: int, inside: _Inside) -> tuple[str, Any]:
        """Check a resource that stands inside another; its type and Struct."""
        try:
            if level > _MAX_INSIDE:
                raise Fault("nested-resources")
            key = self._type(raw)
            if key == b"Bundle":
                return "Bundle", self._bundle(raw, level)[0]
            parsed = self._resource(raw, key, level, inside)
            return parsed.__class__.__name__, parsed
        except Fault as fault:
            raise fault.below(path) from None

    def _contained(self, raw: bytes, parsed: Any, level: int, inside: _Inside) -> None:
        ids: set[str] = set()
        if parsed.contained is not UNSET:
            if inside == "contained":
                raise Fault("contained-nested", path=".contained")
            made: list[Any] = []
            for index, part in enumerate(parsed.contained):
                try:
                    resource = self._part(bytes(part), level + 1)
                    if resource.id is UNSET:
                        raise Fault("contained-id")
                    if resource.id in ids:
                        raise Fault("contained-twice")
                except Fault as fault:
                    raise fault.below(f".contained[{index}]") from None
                ids.add(resource.id)
                made.append(resource if resource.__class__.__name__ != "Bundle" else part)
            parsed.contained = made  # one look for what was dropped sees all of them
        if inside != "contained" and _HASH in raw:
            for name in _local_references(raw):
                if name and name not in ids:
                    raise Fault("contained-missing")

    def _part(self, raw: bytes, level: int) -> Any:
        """Check a contained resource but for what the decoder dropped; its Struct."""
        if level > _MAX_INSIDE:
            raise Fault("nested-resources")
        key = self._type(raw)
        return self._bundle(raw, level)[0] if key == b"Bundle" else self._parsed(raw, key, level, "contained")[0]

    def _parameters(self, parameters: Any, level: int, path: str) -> None:
        if parameters is UNSET:
            return
        for index, parameter in enumerate(parameters):
            if parameter.resource is not UNSET:
                self._inner(bytes(parameter.resource), f"{path}[{index}].resource", level + 1, "resource")
            if parameter.part is not UNSET:
                self._parameters(parameter.part, level, f"{path}[{index}].part")

    def _bundle(self, raw: bytes, level: int) -> tuple[Any, list[Entry]]:
        """Parse the Bundle with its resources as raw slices, then judge the skeleton and each slice on its own."""
        if len(raw) > self.limits.bundle:
            raise Fault("too-large", str(self.limits.bundle))
        try:
            bundle: Any = structs.plain().decoder("Bundle")(raw)
            sure = True
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            if not isinstance(error, msgspec.ValidationError) or (b'"_' not in raw and b"null" not in raw):
                raise fault_of(error, raw) from None
            bundle = guarded(structs.full().decoder("Bundle"), raw)
            sure = False
        entries: list[Entry] = []
        unsure: list[Entry] = []
        try:
            for index, entry in enumerate(() if bundle.entry is UNSET else bundle.entry):
                made, looked_at = self._entry(index, entry, level)
                entries.append(made)
                if not looked_at:
                    unsure.append(made)
            _bundle_rules(bundle.type, entries)
        except Fault:
            self._check_dropped(unsure)  # of several faults, the first is told
            raise
        if not sure or len(unsure) < len(entries) or not nothing(raw, bundle, [entry.parsed for entry in unsure]):
            self._check_dropped(unsure)
            skeleton = without(raw, [entry.raw for entry in entries if entry.raw is not None])
            if sure:
                self._dropped.check(bundle, skeleton)
            else:
                exact.check(skeleton)
        return bundle, entries

    def _entry(self, index: int, entry: Any, level: int) -> tuple[Entry, bool]:
        """Check an entry but for what the decoder dropped; and whether it is sure that nothing was.

        What is in it gives its place to a number: only the skeleton of the Bundle stays.
        """
        raw, parsed, kind, sure = None, None, None, False
        request, response = entry.request, entry.response
        if entry.resource is not UNSET:
            raw, entry.resource = bytes(entry.resource), _ELSEWHERE
            try:
                key = self._type(raw)
                if key == b"Bundle" or level >= _MAX_INSIDE:
                    kind, parsed = self._inner(raw, "", level + 1, "resource")
                    sure = True
                else:
                    parsed, sure = self._parsed(raw, key, level + 1, "resource")
                    kind = key.decode()
            except Fault as fault:
                raise fault.below(f".entry[{index}].resource") from None
        elif request is UNSET and response is UNSET:
            raise Fault("entry-empty", path=f".entry[{index}]")
        if response is not UNSET and response.outcome is not UNSET:
            self._inner(bytes(response.outcome), f".entry[{index}].response.outcome", level + 1, "resource")
        full_url = _given(entry.fullUrl)
        if request is UNSET:
            return Entry(index, full_url, None, None, None, raw, parsed, kind), sure
        none, match = _given(request.ifNoneExist), _given(request.ifMatch)
        return Entry(index, full_url, request.method, request.url, none, raw, parsed, kind, match), sure

    def _check_dropped(self, entries: list[Entry]) -> None:
        given = [(entry, entry.raw) for entry in entries if entry.raw is not None]
        for index in suspects([entry.parsed for entry, _ in given], [raw for _, raw in given]):
            entry, raw = given[index]
            try:
                self._dropped.check_resource(entry.parsed, raw, self._kinds[(entry.resource_type or "").encode()][0])
            except Fault as fault:
                raise fault.below(f".entry[{entry.index}].resource") from None


def _given(value: Any) -> Any:
    return None if value is UNSET else value


def _bundle_rules(kind: str, entries: list[Entry]) -> None:
    """bdl-3 and bdl-7 of https://hl7.org/fhir/R4/bundle-definitions.html#Bundle.

    A history Bundle may leave requests out: published notifications of the Subscriptions backport do.
    """
    requests = sum(entry.method is not None for entry in entries)
    if kind in _TO_DO and requests != len(entries):
        raise Fault("entry-request", path=f".entry[{next(e.index for e in entries if e.method is None)}]")
    if requests and kind not in _WITH_REQUEST:
        raise Fault("entry-no-request", path=f".entry[{next(e.index for e in entries if e.method)}]")
    urls = [e.full_url for e in entries if e.full_url is not None]
    if kind == "history" or len(set(urls)) == len(urls):
        return
    seen: set[tuple[str, str]] = set()
    for entry in entries:
        if entry.full_url is not None:
            identity = entry.full_url, _version(entry.parsed)
            if identity in seen:
                raise Fault("full-url-twice", path=f".entry[{entry.index}].fullUrl")
            seen.add(identity)


def _local_references(raw: bytes) -> Iterator[str]:
    """What references of the form `#name` name. Looking for the one letter is twenty times as fast as a pattern."""
    at = raw.find(b"#")
    for _ in range(_FEW):
        if at < 0:
            return
        if raw[at - 1] == _QUOTE and _ends_with_reference(raw[max(at - 200, 0) : at]):
            yield raw[at + 1 : raw.find(b'"', at)].decode()
        at = raw.find(b"#", at + 1)
    for found in _local_reference(raw, max(at - 200, 0)) if at >= 0 else ():
        yield found[1].decode()


def _version(resource: Any) -> str:
    meta = UNSET if resource is None else getattr(resource, "meta", UNSET)
    return "" if meta is UNSET or meta.versionId is UNSET else meta.versionId
