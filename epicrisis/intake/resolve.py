"""Resolve a message: every resource gets its cluster id and its subject, every reference the cluster's form."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import chain
from uuid import UUID

from epicrisis.codec.layout import Unindented, unindented
from epicrisis.errors import Foreign, Malformed, NotHere, Refused, Unresolved
from epicrisis.fhir.gate import Checked
from epicrisis.fhir.references import VALUES, cut, place_of, text_of, written
from epicrisis.fhir.values import absent
from epicrisis.intake import whose
from epicrisis.intake.identity import Digests, identifiers, local_id, resource_id
from epicrisis.intake.items import CONDITIONAL, RELATIVE, Item, identifier_in, item_of
from epicrisis.intake.known import Finder, Known
from epicrisis.journal import Claim, Naming

_ELSEWHERE = re.compile(r"urn:epicrisis:([a-z0-9_-]+):([A-Z][A-Za-z]+)/([A-Za-z0-9\-.]{1,64})\Z").match
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z").match

_SUBJECT_DEPTH = 3


class Resolver:
    """Resolves one message of one operator, with what the journals know."""

    def __init__(
        self, checked: Checked, *, message: UUID, operator: str, digests: Digests, identifying: Finder, known: Known
    ) -> None:
        self._checked = checked
        self._message = message
        self._operator = operator
        self._digests = digests
        self._identifying = identifying
        self._journals = known
        self._known: dict[str, str] = {}
        self._written = _Written(self)
        self._items: dict[str, Item] = {}
        self._patients: dict[str, UUID | None] = {}
        self._subjects: dict[str, UUID] = {}
        self._at = 0

    def resolve(self) -> list[Item]:
        """Name every resource, then resolve every reference and find every subject.

        Raises
        ------
        Malformed
            A reference that leads nowhere, an entry that cannot be carried out: with its place.
        """
        asked = [entry for entry in self._checked.entries if entry.parsed is not None or entry.method is not None]
        items = [item_of(entry, self.where(entry.index), self._operator, self._message) for entry in asked]
        if not items:
            raise Malformed("there is no resource in it to take in", self._checked.resource_type)
        cuts = [cut(item.raw) for item in items]
        self._identify(items, set(chain.from_iterable(parts[VALUES] for parts in cuts)))
        for item in items:
            self._learn(item)
        layout = self._checked.layout
        for item, parts in zip(items, cuts, strict=True):
            self._at = item.index
            parts[VALUES] = map(self._written.__getitem__, parts[VALUES])
            raw = b"".join(parts)
            item.raw = unindented(raw) if layout is None else Unindented.of(raw, layout)
        for item in items:
            self._at = item.index
            item.subject = self._subject(item)
            if item.by_cluster_id:
                item.kept_for = self._journals.stream(item.resource_type, item.reference)
            if item.if_none_exist:
                item.subject = item.kept_for or item.subject
            elif (item.by_cluster_id or item.kept_for) and item.subject != item.kept_for:
                raise Refused(f"{self._place}: this {item.resource_type} belongs to another patient: send a new one")
        self._check_membership(items)
        return items

    def claims(self, items: list[Item]) -> dict[str, list[Claim]]:
        """Per service the identifiers that these resources bring, and that are not known yet."""
        found: dict[str, list[Claim]] = {}
        for item in items:
            for digest in item.digests if item.method != "DELETE" else ():
                if self._journals.identified(item.resource_type, digest) is None:
                    service = self._journals.indexing(item.resource_type)[0].name
                    found.setdefault(service, []).append(Claim(digest, UUID(item.resource_id)))
        return found

    def namings(self, items: Sequence[Item], recorded: datetime) -> dict[int | None, list[Naming]]:
        """By what these resources are found, by entry: the identifiers that several of their type may share."""
        return {
            item.index: [Naming(digest, UUID(item.resource_id), recorded) for digest in dict.fromkeys(digests)]
            for item in items
            if item.resource_type not in self._identifying
            and not absent(getattr(item.parsed, "identifier", None))
            and (digests := self._digests.identifiers_of(self._operator, item.resource_type, item.parsed))
        }

    # Who is known already

    def _identify(self, items: list[Item], values: set[bytes]) -> None:
        """Find who is known already: by the sender's own id first, else by identifiers."""
        by_service: dict[str, list[Item]] = {}
        for item in items:
            if item.resource_type in self._identifying:
                own = () if item.own_id is None else (self._own(item.resource_type, item.own_id),)
                named = self._digests.identifiers_of(self._operator, item.resource_type, item.parsed)
                if item.criterion is not None:
                    named.append(self._digests.identifier(self._operator, item.resource_type, *item.criterion))
                item.digests = tuple(dict.fromkeys((*own, *named)))
            elif item.criterion is not None:
                item.digests = (self._digests.identifier(self._operator, item.resource_type, *item.criterion),)
            if item.digests:
                by_service.setdefault(self._journals.indexing(item.resource_type)[0].name, []).append(item)
        self._ask(items, by_service, values)
        for item in items:
            if item.by_cluster_id and item.own_id:
                stream = f"{item.resource_type}/{item.own_id}"
                item.by_cluster_id = self._journals.stream(item.resource_type, stream) is not None
                if item.by_cluster_id:
                    item.resource_id = item.own_id
        for some in by_service.values():
            digests = {(item.resource_type, digest) for item in some for digest in item.digests}
            known = {d: str(found) for kind, d in digests if (found := self._journals.identified(kind, d))}
            for item in some:
                if item.resource_type in self._identifying:
                    self._identify_one(item, known)
                else:
                    self._identify_by_condition(item, known)
        self._tell_patients_apart(items)

    def _ask(self, items: list[Item], by_service: Mapping[str, list[Item]], values: set[bytes]) -> None:
        """Ask the journals once for all that these resources and references (as they are written) may need of them."""
        here = {e.full_url for e in self._checked.entries}
        here |= {f"{i.resource_type}/{i.own_id}" for i in items if i.own_id}
        digests = {(i.resource_type, d) for some in by_service.values() for i in some for d in i.digests}
        subjects = {i.own_id for i in items if i.resource_type == "Patient" and i.own_id}
        streams = {(i.resource_type, f"{i.resource_type}/{i.own_id}") for i in items if i.by_cluster_id}
        for value in {text_of(v) for v in values} - here:
            if named := _name(value, self._operator):
                operator, kind, own_id = named
                if operator == self._operator and f"{kind}/{own_id}" in here:
                    continue
                if kind in self._identifying:
                    digests.add((kind, self._digests.own_id(operator, kind, own_id)))
                if kind == "Patient":
                    subjects.add(own_id)
                elif _UUID(own_id):
                    streams.add((kind, f"{kind}/{own_id}"))
            elif (found := CONDITIONAL(value)) and found[1] in self._identifying and (pair := identifier_in(found[2])):
                digests.add((found[1], self._digests.identifier(self._operator, found[1], *pair)))
        self._journals.ask(digests, [UUID(own_id) for own_id in subjects if _UUID(own_id)], streams)

    def _identify_one(self, item: Item, known: dict[bytes, str]) -> None:
        self._at = item.index
        own = self._own(item.resource_type, item.own_id) if item.own_id is not None else None
        if own is not None and own in known:
            item.resource_id, item.found_by = known[own], "id"
        elif item.resource_type == "Patient" and item.own_id is not None and self._is_mine(item.own_id):
            item.resource_id, item.found_by, item.by_cluster_id = item.own_id, "id", False
        elif item.by_cluster_id:
            item.found_by = "id"
        else:
            found = {known[d] for d in item.digests if d in known}
            if len(found) == 1:
                item.resource_id, item.found_by = found.pop(), "identifier"
            elif found:
                raise Refused(
                    f"{self._place}: the identifiers of this {item.resource_type} belong to {len(found)} "
                    "different ones: correct them, or have the records merged first"
                )
            elif item.resource_type == "Patient":
                item.resource_id = local_id(self._message, item.index)
        for digest in item.digests:
            taken = known.setdefault(digest, item.resource_id)
            if taken != item.resource_id:
                raise Refused(
                    f"{self._place}: an identifier of this {item.resource_type} belongs to another one: correct it, "
                    "or have the records merged first"
                )

    def _identify_by_condition(self, item: Item, known: dict[bytes, str]) -> None:
        """A type whose identifiers nobody indexes: a condition finds what a condition has made.

        The identifier is claimed before the resource is kept: who was killed in between finds its claim, and makes it.
        """
        (digest,) = item.digests
        here = digest in known and self._journals.identified(item.resource_type, digest) is None
        item.resource_id = known.setdefault(digest, item.resource_id)
        kept = self._journals.stream(item.resource_type, f"{item.resource_type}/{item.resource_id}")
        if here or kept is not None:
            item.found_by = "identifier"
            item.kept_for = kept

    def _tell_patients_apart(self, items: list[Item]) -> None:
        """Two Patients of one message are two people, unless the sender gives them one id (or creates one if none)."""
        seen: dict[str, Item] = {}
        for item in items:
            if item.resource_type == "Patient" and not item.if_none_exist:
                first = seen.setdefault(item.resource_id, item)
                if first is not item and (item.own_id is None or item.own_id != first.own_id):
                    raise Refused(
                        f"{self.where(item.index)}: an identifier of this Patient belongs to another Patient of this "
                        "message: correct it, or send them as one"
                    )

    def _learn(self, item: Item) -> None:
        item.reference = f"{item.resource_type}/{item.resource_id}"
        full_url = self._checked.entries[item.index].full_url
        self._items[item.reference] = item
        if full_url:
            self._known[full_url] = item.reference
        if item.own_id is not None:
            self._known[f"{item.resource_type}/{item.own_id}"] = item.reference

    @property
    def _place(self) -> str:
        return self.where(self._at)

    # References

    def reference(self, value: str) -> str:
        """The cluster's form of a reference; what leads outside the cluster stays as it is."""
        found = self._known.get(value)
        if found is None:
            found = self._known[value] = self._find(value)
        return found

    def element(self, value: str) -> str:
        """The place of a reference in the resource that is being resolved."""
        resource = f"{self._place}.resource" if self._checked.resource_type == "Bundle" else self._place
        return resource + place_of(self._checked.entries[self._at].raw or b"{}", value)

    def _find(self, value: str) -> str:
        if value.startswith("#"):
            return value
        if named := RELATIVE(value):
            here = self._known.get(f"{named[1]}/{named[2]}")
            return (here or f"{named[1]}/{self._named(self._operator, named[1], named[2])}") + (named[3] or "")
        if elsewhere := _ELSEWHERE(value):
            return f"{elsewhere[2]}/{self._named(elsewhere[1], elsewhere[2], elsewhere[3])}"
        if value.startswith(("urn:uuid:", "urn:oid:")):
            raise Malformed("a reference names a resource that is not in this message", self._place)
        if conditional := CONDITIONAL(value):
            return f"{conditional[1]}/{self._identified(conditional[1], conditional[2])}"
        return value

    def _named(self, operator: str, kind: str, own_id: str) -> str:
        if f"{kind}/{own_id}" in self._items:
            return own_id
        if kind in self._identifying:
            found = self._journals.identified(kind, self._digests.own_id(operator, kind, own_id))
            if found:
                return str(found)
        if kind == "Patient":
            if _UUID(own_id) and self._journals.operators(UUID(own_id)):
                return own_id
            raise Unresolved("a reference names a Patient that is not known here: send the Patient first", self._place)
        if _UUID(own_id) and self._journals.stream(kind, f"{kind}/{own_id}") is not None:
            return own_id
        return resource_id(operator, kind, own_id)

    def _identified(self, kind: str, query: str) -> str:
        pair = identifier_in(query)
        if kind not in self._identifying or pair is None:
            kinds = ", ".join(sorted(self._identifying))
            raise Malformed(f"a conditional reference must be Type?identifier=system|value, of {kinds}", self._place)
        for item in self._items.values():
            if item.resource_type == kind and pair in identifiers(item.parsed):
                return item.resource_id
        found = self._journals.identified(kind, self._digests.identifier(self._operator, kind, *pair))
        if not found:
            raise Unresolved(f"a conditional reference matches no {kind} known here: send it first", self._place)
        return str(found)

    def _own(self, kind: str, own_id: str) -> bytes:
        return self._digests.own_id(self._operator, kind, own_id)

    def _is_mine(self, own_id: str) -> bool:
        return _UUID(own_id) is not None and self._operator in self._journals.operators(UUID(own_id))

    # Subjects

    def _subject(self, item: Item, depth: int = 0) -> UUID:
        if item.parsed is None and item.resource_type not in self._identifying:
            return self._subject_of_deleted(item)
        if item.resource_type not in self._identifying:
            for name, target in whose.references(item.parsed):
                if patient := self._patient(target):
                    return patient
                other = self._items.get(self.reference(target))
                if name == "target" and other is not None and other is not item and depth < _SUBJECT_DEPTH:
                    return self._subject(other, depth + 1)
        item.alone = item.resource_type != "Patient"
        return self._whom(item.resource_id)

    def _patient(self, target: str) -> UUID | None:
        """The patient whom a reference names, if it names one."""
        if target not in self._patients:
            resolved = self.reference(target)
            self._patients[target] = self._whom(resolved.split("/")[1]) if resolved.startswith("Patient/") else None
        return self._patients[target]

    def _whom(self, id_: str) -> UUID:
        """A subject. The same object each time: they are compared several times for each resource."""
        return self._subjects.get(id_) or self._subjects.setdefault(id_, UUID(id_))

    def _subject_of_deleted(self, item: Item) -> UUID:
        """Of a deletion, which has no resource: the subject whose stream it is."""
        found = self._journals.stream(item.resource_type, item.reference)
        if found is None:
            raise NotHere(f"there is no such {item.resource_type} to delete", f"{self._place}.request.url")
        return found

    def _check_membership(self, items: list[Item]) -> None:
        """A history may be written by the operators that the patient was registered by or shared with."""
        own = {item.resource_id for item in items}
        subjects = {item.subject: item.index for item in reversed(items)}  # where each is named first
        others = {s: index for s, index in subjects.items() if s is not None and str(s) not in own}
        self._journals.ask(subjects=others)
        for subject, index in others.items():
            if self._operator not in self._journals.operators(subject):
                raise Foreign(
                    f"{self.where(index)}: this patient belongs to another operator: a referral or transfer to one of "
                    "your clinics must come first"
                )

    def where(self, index: int) -> str:
        """The place of an entry, for messages."""
        return f"Bundle.entry[{index}]" if self._checked.resource_type == "Bundle" else self._checked.resource_type


def _name(value: str, operator: str) -> tuple[str, str, str] | None:
    """Operator, type and id in a reference that names them; ``operator`` where it names none."""
    if named := RELATIVE(value):
        return operator, named[1], named[2]
    elsewhere = _ELSEWHERE(value)
    return (elsewhere[1], elsewhere[2], elsewhere[3]) if elsewhere else None


class _Written(dict[bytes, bytes]):
    """References as they are written in JSON, to the cluster's form, written; what is missing is resolved."""

    def __init__(self, resolver: Resolver) -> None:
        super().__init__()
        self._resolver = resolver

    def __missing__(self, value: bytes) -> bytes:
        text = text_of(value)
        try:
            new = self._resolver.reference(text)
        except Malformed as problem:
            raise type(problem)(problem.message, self._resolver.element(text), problem.rule) from None
        made = self[value] = value if new == text else written(new)
        return made
