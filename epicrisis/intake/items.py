"""What the entries of a message ask for, each by itself: which resource, by which name, and what is done with it."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qs
from uuid import UUID

import msgspec

from epicrisis.errors import Malformed
from epicrisis.fhir.gate import Entry
from epicrisis.fhir.values import absent
from epicrisis.intake.identity import local_id, resource_id

RELATIVE = re.compile(r"([A-Z][A-Za-z]+)/([A-Za-z0-9\-.]{1,64})(/_history/[A-Za-z0-9\-.]{1,64})?\Z").match
CONDITIONAL = re.compile(r"([A-Z][A-Za-z]+)\?(\S+)\Z").match
_ETAG = re.compile(r'(?:W/)?"?(\d{1,9})"?\Z').match
_CLUSTER_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\Z").match


class Item(msgspec.Struct, gc=False):
    """A resource of the message on its way to the services.

    ``found_by``: id, identifier, or new. ``alone``: it is about no patient, but its own subject.
    """

    index: int
    resource_type: str
    method: str
    own_id: str | None
    parsed: Any
    raw: bytes
    resource_id: str
    found_by: str = "new"
    subject: UUID | None = None
    digests: tuple[bytes, ...] = ()
    if_none_exist: bool = False
    alone: bool = False
    reference: str = ""
    by_cluster_id: bool = False
    """It was addressed by the id that it has here, not by its sender's own."""
    criterion: tuple[str, str] | None = None
    """System and value of the identifier that it names its resource by."""
    if_match: int | None = None
    """The version that it changes; None: whichever."""
    kept_for: UUID | None = None
    """The subject of the resource that its condition, or the id that it has here, has found."""


def item_of(entry: Entry, place: str, operator: str, message: UUID) -> Item:
    """What an entry asks for, named as its sender names it; ``place`` is the entry's, for messages.

    Raises
    ------
    Malformed
        It cannot be carried out.
    """
    kind, own_id = entry.resource_type, None
    if entry.parsed is not None and not absent(entry.parsed.id):
        own_id = entry.parsed.id
    method = entry.method or "PUT"
    if method not in ("POST", "PUT", "DELETE"):
        raise Malformed("only POST, PUT and DELETE can be carried out", f"{place}.request.method")
    if method == "POST" and kind is not None and entry.url and entry.url != kind:
        raise Malformed(
            "a POST goes to the type of its resource: operations are not carried out", f"{place}.request.url"
        )
    if method != "POST" and entry.url:
        named = RELATIVE(entry.url)
        if named is None or (kind is not None and named[1] != kind):
            if not CONDITIONAL(entry.url) or method == "DELETE":
                raise Malformed("the address must be Type/id of this resource", f"{place}.request.url")
        else:
            if own_id not in (None, named[2]):
                raise Malformed("the id of the resource is not the one in its address", f"{place}.request.url")
            kind, own_id = named[1], named[2]
    if kind is None:
        raise Malformed("there is neither a resource nor the address of one", place)
    if own_id is not None:
        at = resource_id(operator, kind, own_id)
    else:
        at = local_id(message, entry.index)
    item = Item(entry.index, kind, method, own_id, entry.parsed, entry.raw or b"", at)
    item.by_cluster_id = entry.method in ("PUT", "DELETE") and own_id is not None and bool(_CLUSTER_ID(own_id))
    item.if_none_exist = entry.if_none_exist is not None
    if entry.if_none_exist is not None:
        item.criterion = _criterion(kind, entry.if_none_exist.lstrip("?"), f"{place}.request.ifNoneExist")
    elif method == "PUT" and entry.url and (conditional := CONDITIONAL(entry.url)):
        item.criterion = _criterion(kind, conditional[2], f"{place}.request.url")
    if entry.if_match is not None:
        expected = _ETAG(entry.if_match)
        if expected is None:
            raise Malformed('the version must be written as W/"3"', f"{place}.request.ifMatch")
        item.if_match = int(expected[1])
    return item


def _criterion(kind: str, query: str, place: str) -> tuple[str, str]:
    pair = identifier_in(query)
    if pair is None:
        raise Malformed(
            f"a condition on a {kind} must be identifier=system|value; without one, put it under an id of your own",
            place,
        )
    return pair


def identifier_in(query: str) -> tuple[str, str] | None:
    """System and value of ``identifier=system|value``, where that is all there is."""
    terms = parse_qs(query)
    system, bar, value = terms.get("identifier", [""])[0].rpartition("|")
    return (system, value) if bar and len(terms) == 1 else None
