"""Resolve a message: every resource gets its cluster id and its subject, every reference the cluster's form."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs
from uuid import UUID

from epicrisis.decider import Service
from epicrisis.errors import Malformed, Refused, Unresolved
from epicrisis.fhir.gate import Checked, Entry
from epicrisis.fhir.references import splice
from epicrisis.fhir.values import absent
from epicrisis.intake.identity import Digests, identifiers, local_id, resource_id
from epicrisis.journal import Claim, Journal

_RELATIVE = re.compile(r"([A-Z][A-Za-z]+)/([A-Za-z0-9\-.]{1,64})(/_history/[A-Za-z0-9\-.]{1,64})?\Z").match
_ELSEWHERE = re.compile(r"urn:epicrisis:([a-z0-9_-]+):([A-Z][A-Za-z]+)/([A-Za-z0-9\-.]{1,64})\Z").match
_CONDITIONAL = re.compile(r"([A-Z][A-Za-z]+)\?(\S+)\Z").match
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z").match

WHOSE = ("subject", "patient", "beneficiary", "for_", "individual", "candidate", "target", "source")
"""The elements that may name the patient whom a resource is about, the first that does counts."""

Finder = Mapping[str, tuple[Service, Journal]]


@dataclass(slots=True)
class Item:
    """A resource of the message on its way to the services. ``found_by``: id, identifier, or new."""

    index: int
    resource_type: str
    method: str
    own_id: str | None
    parsed: Any
    raw: bytes
    resource_id: UUID
    found_by: str = "new"
    subject: UUID | None = None
    digests: tuple[bytes, ...] = ()
    if_none_exist: bool = False
    reference: str = ""


class Resolver:
    """Resolves one message of one operator.

    ``identifying`` maps resource types to who indexes their identifiers, ``keeping`` to the journals that may keep
    them; ``identity`` knows who may write about whom.
    """

    def __init__(
        self,
        checked: Checked,
        *,
        message: UUID,
        operator: str,
        digests: Digests,
        identifying: Finder,
        keeping: Callable[[str], Sequence[Journal]],
        identity: Journal,
    ) -> None:
        self._checked = checked
        self._message = message
        self._operator = operator
        self._digests = digests
        self._identifying = identifying
        self._keeping = keeping
        self._identity = identity
        self._known: dict[str, str] = {}
        self._items: dict[str, Item] = {}
        self._entry = ""

    def resolve(self) -> list[Item]:
        """Name every resource, then resolve every reference and find every subject.

        Raises
        ------
        Malformed
            A reference that leads nowhere, an entry that cannot be carried out: with its place.
        """
        items = [self._item(entry) for entry in self._checked.entries if not _empty(entry)]
        if not items:
            raise Malformed("there is no resource in it to take in", self._checked.resource_type)
        self._identify(items)
        for item in items:
            self._learn(item)
        for item in items:
            self._entry = self.where(item.index)
            if item.raw:
                item.raw = splice(item.raw, self.reference)
        for item in items:
            self._entry = self.where(item.index)
            item.subject = self._subject(item)
        self._check_membership(items)
        return items

    def claims(self, items: list[Item]) -> dict[str, list[Claim]]:
        """Per service the identifiers that these resources bring."""
        found: dict[str, list[Claim]] = {}
        for item in items:
            if item.digests and item.method != "DELETE":
                service = self._identifying[item.resource_type][0].name
                found.setdefault(service, []).extend(Claim(d, item.resource_id) for d in item.digests)
        return found

    # Names

    def _item(self, entry: Entry) -> Item:
        self._entry = self.where(entry.index)
        kind, own_id = entry.resource_type, None
        if entry.parsed is not None and not absent(entry.parsed.id):
            own_id = entry.parsed.id
        method = entry.method or "PUT"
        if method not in ("POST", "PUT", "DELETE"):
            raise Malformed("only POST, PUT and DELETE can be carried out", f"{self._entry}.request.method")
        if method == "POST" and kind is not None and entry.url and entry.url != kind:
            raise Malformed(
                "a POST goes to the type of its resource: operations are not carried out", f"{self._entry}.request.url"
            )
        if method != "POST" and entry.url:
            named = _RELATIVE(entry.url)
            if named is None or (kind is not None and named[1] != kind):
                if not _CONDITIONAL(entry.url) or method == "DELETE":
                    raise Malformed("the address must be Type/id of this resource", f"{self._entry}.request.url")
            else:
                kind, own_id = named[1], named[2]
        if kind is None:
            raise Malformed("there is neither a resource nor the address of one", self._entry)
        if own_id is not None:
            at = resource_id(self._operator, kind, own_id)
        else:
            at = local_id(self._message, entry.index)
        return Item(
            entry.index,
            kind,
            method,
            own_id,
            entry.parsed,
            entry.raw or b"",
            at,
            if_none_exist=entry.if_none_exist is not None,
        )

    def _identify(self, items: list[Item]) -> None:
        """Find who is known already: by the sender's own id first, else by identifiers."""
        by_kind: dict[str, list[Item]] = {}
        for item in items:
            if item.resource_type in self._identifying:
                own = () if item.own_id is None else (self._own(item.resource_type, item.own_id),)
                named = self._digests.identifiers_of(self._operator, item.resource_type, item.parsed)
                item.digests = (*own, *named)
                by_kind.setdefault(self._identifying[item.resource_type][0].name, []).append(item)
        for some in by_kind.values():
            journal = self._identifying[some[0].resource_type][1]
            wanted = {d for item in some for d in item.digests}
            known = journal.identified(wanted) if wanted else {}
            for item in some:
                self._identify_one(item, known)
        self._tell_patients_apart(items)

    def _identify_one(self, item: Item, known: dict[bytes, UUID]) -> None:
        self._entry = self.where(item.index)
        own = self._own(item.resource_type, item.own_id) if item.own_id is not None else None
        if own is not None and own in known:
            item.resource_id, item.found_by = known[own], "id"
        elif item.own_id is not None and _UUID(item.own_id) and self._is_member(UUID(item.own_id)):
            item.resource_id, item.found_by = UUID(item.own_id), "id"
        else:
            found = {known[d] for d in item.digests if d in known}
            if len(found) == 1:
                item.resource_id, item.found_by = found.pop(), "identifier"
            elif found:
                raise Refused(
                    f"{self._entry}: the identifiers of this {item.resource_type} belong to {len(found)} "
                    "different ones: correct them, or have the records merged first"
                )
            elif item.resource_type == "Patient":
                item.resource_id = local_id(self._message, item.index)
        for digest in item.digests:
            taken = known.setdefault(digest, item.resource_id)
            if taken != item.resource_id:
                raise Refused(
                    f"{self._entry}: an identifier of this {item.resource_type} belongs to another one: correct it, "
                    "or have the records merged first"
                )

    def _tell_patients_apart(self, items: list[Item]) -> None:
        """Two Patients of one message are two people, unless the sender gives them one id (or creates one if none)."""
        seen: dict[UUID, Item] = {}
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

    # References

    def reference(self, value: str) -> str:
        """The cluster's form of a reference; what leads outside the cluster stays as it is."""
        found = self._known.get(value)
        if found is None:
            found = self._known[value] = self._find(value)
        return found

    def _find(self, value: str) -> str:
        if value.startswith("#"):
            return value
        if named := _RELATIVE(value):
            here = self._known.get(f"{named[1]}/{named[2]}")
            return (here or f"{named[1]}/{self._named(self._operator, named[1], named[2])}") + (named[3] or "")
        if elsewhere := _ELSEWHERE(value):
            return f"{elsewhere[2]}/{self._named(elsewhere[1], elsewhere[2], elsewhere[3])}"
        if value.startswith(("urn:uuid:", "urn:oid:")):
            raise Malformed("a reference names a resource that is not in this message", self._entry)
        if conditional := _CONDITIONAL(value):
            return f"{conditional[1]}/{self._identified(conditional[1], conditional[2])}"
        return value

    def _named(self, operator: str, kind: str, own_id: str) -> UUID:
        if f"{kind}/{own_id}" in self._items:
            return UUID(own_id)
        if kind in self._identifying:
            digest = self._digests.own_id(operator, kind, own_id)
            found = self._identifying[kind][1].identified([digest])
            if found:
                return found[digest]
        if kind == "Patient":
            if _UUID(own_id) and self._identity.members([UUID(own_id)]):
                return UUID(own_id)
            raise Unresolved("a reference names a Patient that is not known here: send the Patient first", self._entry)
        if _UUID(own_id) and self._stream(kind, f"{kind}/{own_id}") is not None:
            return UUID(own_id)
        return resource_id(operator, kind, own_id)

    def _identified(self, kind: str, query: str) -> UUID:
        terms = parse_qs(query)
        token = terms.get("identifier", [""])[0]
        system, bar, value = token.rpartition("|")
        if kind not in self._identifying or len(terms) != 1 or not bar:
            kinds = ", ".join(sorted(self._identifying))
            raise Malformed(f"a conditional reference must be Type?identifier=system|value, of {kinds}", self._entry)
        for item in self._items.values():
            if item.resource_type == kind and (system, value) in identifiers(item.parsed):
                return item.resource_id
        digest = self._digests.identifier(self._operator, kind, system, value)
        found = self._identifying[kind][1].identified([digest])
        if not found:
            raise Unresolved(f"a conditional reference matches no {kind} known here: send it first", self._entry)
        return found[digest]

    def _own(self, kind: str, own_id: str) -> bytes:
        return self._digests.own_id(self._operator, kind, own_id)

    # Subjects

    def _subject(self, item: Item, depth: int = 0) -> UUID:
        if item.resource_type in self._identifying or item.parsed is None:
            return item.resource_id if item.parsed is not None else self._subject_of_known(item)
        for name in WHOSE:
            value = getattr(item.parsed, name, None)
            if absent(value) or isinstance(value, str):
                continue
            for one in value if isinstance(value, list) else [value]:
                target = getattr(one, "reference", None)
                if one is None or absent(target) or not isinstance(target, str):
                    continue
                resolved = self.reference(target)
                if resolved.startswith("Patient/"):
                    return UUID(resolved.split("/")[1])
                other = self._items.get(resolved)
                if name == "target" and other is not None and other is not item and depth < 3:
                    return self._subject(other, depth + 1)
        return item.resource_id

    def _subject_of_known(self, item: Item) -> UUID:
        """Of a deletion, which has no resource: the subject whose stream it is."""
        if item.resource_type in self._identifying:
            return item.resource_id
        found = self._stream(item.resource_type, item.reference)
        if found is None:
            raise Malformed(f"there is no such {item.resource_type} to delete", f"{self._entry}.request.url")
        return found

    def _stream(self, kind: str, stream: str) -> UUID | None:
        """The subject of a stream, in whichever service may keep resources of this type."""
        for journal in self._keeping(kind):
            found = journal.known([stream])
            if found:
                return found[stream]
        return None

    def _is_member(self, subject: UUID) -> bool:
        return (subject, self._operator) in self._identity.members([subject])

    def _check_membership(self, items: list[Item]) -> None:
        """A history may be written by the operators that the patient was registered by or shared with."""
        own = {item.resource_id for item in items}
        others: dict[UUID, int] = {}
        for item in items:
            if item.subject is not None and item.subject not in own:
                others.setdefault(item.subject, item.index)
        if not others:
            return
        members = self._identity.members(list(others))
        for subject, index in others.items():
            if (subject, self._operator) not in members:
                raise Refused(
                    f"{self.where(index)}: this patient belongs to another operator: a referral or transfer to one of "
                    "your clinics must come first"
                )

    def where(self, index: int) -> str:
        """The place of an entry, for messages."""
        return f"Bundle.entry[{index}]" if self._checked.resource_type == "Bundle" else self._checked.resource_type


def _empty(entry: Entry) -> bool:
    return entry.parsed is None and entry.method is None
