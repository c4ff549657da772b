"""The codec: an event to a Kafka record value, and back."""

from __future__ import annotations

import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from typing import Any
from uuid import UUID

import msgspec
from fastavro import schemaless_reader, schemaless_writer

from epicrisis.codec.catalogue import Catalogue, Upcast
from epicrisis.codec.dictionaries import Dictionaries
from epicrisis.codec.envelope import MAX_VALUE, Envelopes, Place
from epicrisis.codec.keys import DataKey
from epicrisis.codec.layout import COMPACT, VERBATIM, Unindented, pack, unpack
from epicrisis.codec.reading import Read, finder, leaves
from epicrisis.codec.sealing import body_context, seal, unseal
from epicrisis.errors import Poison, Refused, UnknownSchema
from epicrisis.event import Meta, fields_of

RESOURCE = "resource"
"""The field of a body that holds a FHIR resource as it was sent."""
PRESENT = b"{}"
"""Stands for a resource where only the facts are asked for: there is one."""
_OWN = "\x01"
"""Stands in an id's place for the id of the event's own stream."""
_BYTE = [bytes([n]) for n in range(256)]


class Sealed(msgspec.Struct, frozen=True, gc=False):
    """An event whose envelope was read: ``body`` is still sealed under the key ``meta.key``."""

    meta: Meta
    body: bytes


class Codec:
    """Writes and reads record values. Share one between threads.

    Value: 0x00, the envelope's schema id (4 bytes, big-endian), the envelope in Avro. Its body: Avro, compressed with
    zstd (with the dictionary for the resource type, the stream's part before "/"), a byte for the resource's layout
    before it, sealed under the subject's key.
    """

    def __init__(self, catalogue: Catalogue, dictionaries: Dictionaries) -> None:
        self.catalogue = catalogue
        self.dictionaries = dictionaries
        self._envelopes = Envelopes(catalogue.envelope)
        self._plans: dict[tuple[str, int], _Plan] = {}

    def encode(self, meta: Meta, body: Any, key: DataKey) -> bytes:
        """The final record value of an event: what the journal stores and the relay sends.

        The envelope's ``key`` is ``key.id``, whatever ``meta.key`` says. Costs about 20 µs for an average event.

        Raises
        ------
        Refused
            The body is over 16 MiB, or the value over `MAX_VALUE`.
        UnknownSchema
            ``meta.type`` and ``meta.version`` are not those of a class in the catalogue.
        """
        sealed, id, subject = self._sealed(meta, body, key)
        value = self._envelopes.write(meta, id, subject, key.id_bytes, sealed)
        if len(value) > MAX_VALUE:
            raise Refused(f"an event is {len(value)} bytes long, and at most {MAX_VALUE} are kept: send it in parts")
        return value

    def encode_unnumbered(self, meta: Meta, body: Any, key: DataKey) -> tuple[bytes, bytes]:
        """`encode` without ``seq``, which no seal covers: what stands before it in the value, and what behind it."""
        sealed, id, subject = self._sealed(meta, body, key)
        before, after = self._envelopes.around(meta, id, subject, key.id_bytes, sealed)
        return b"".join(before), b"".join(after)

    def _sealed(self, meta: Meta, body: Any, key: DataKey) -> tuple[bytes, bytes, bytes]:
        """The sealed body, and the bytes of event id and subject."""
        plan = self._plans.get((meta.type, meta.version)) or self._plan(meta.type, meta.version)
        if plan.steps:
            raise UnknownSchema(f"{meta.type} is not written as v{meta.version} any more: take the class's version")
        values = plan.leaves(body)
        layout = _shorten(values, plan, meta)
        frame = _BYTE[layout] + self.dictionaries.compress(plan.write(values), meta.stream.partition("/")[0])
        id, subject = meta.id.bytes, meta.subject.bytes
        return seal(frame, key, id + subject + plan.context), id, subject

    def open(self, value: bytes) -> Sealed:
        """The envelope of a record value. No key is needed, and no schema is ever taken off the wire.

        Raises
        ------
        UnknownSchema
            Its schema is not the envelope's.
        Poison
            Not framed, too long, cut off, bytes after the end, not UTF-8, or not in the one form that we write.
        """
        return Sealed(*self._envelopes.read(value))

    def place(self, value: bytes) -> Place:
        """Subject (16 bytes), service and seq of a record value, at a fifth of what `open` costs: what stands behind
        them in the envelope is not looked at.

        Raises
        ------
        UnknownSchema, Poison
            As `open`, as far as it is looked at.
        """
        return self._envelopes.place(value)

    def unseal(self, sealed: Sealed, key: DataKey, *, facts: bool = False, indented: bool = True) -> Any:
        """The event body: an object of the newest class, lifted if it was written with an older schema.

        With ``facts`` its resource is `PRESENT` or empty, which costs half: read models need no more. Without
        ``indented``, a resource that was sent indented comes as `Unindented`: deciders compare it with what comes in.

        Raises
        ------
        SealBroken
            The seal does not match the envelope or the key.
        UnknownSchema
            Type and version are not in this release's catalogue.
        Poison
            Sealed by us, yet unreadable: an unknown dictionary, too large, or not as its schema says.
        """
        meta = sealed.meta
        plan = self._plans.get((meta.type, meta.version)) or self._plan(meta.type, meta.version)
        frame = unseal(sealed.body, key, meta.id.bytes + meta.subject.bytes + plan.context)
        layout, avro = frame[0] if frame else COMPACT, self.dictionaries.decompress(frame[1:])
        left_out = COMPACT
        if not indented and layout != VERBATIM:
            layout, left_out = COMPACT, layout
        try:
            if plan.steps:
                avro, layout = plan.lift(avro, layout, meta), VERBATIM
            values, end = plan.read(avro, 0)
            _restore(values, plan.resource, plan.places, layout, meta, facts)
            if left_out != COMPACT and plan.resource is not None and values[plan.resource]:
                values[plan.resource] = Unindented.of(values[plan.resource], left_out)
            body = plan.make(values)
        except Exception:
            raise Poison(f"the body is not {meta.type} v{meta.version}: report this release", "bad_body") from None
        if end != len(avro):
            raise Poison(f"bytes follow the body of {meta.type} v{meta.version}: report this release", "bad_body")
        return body

    def resource(self, sealed: Sealed, key: DataKey, *, indented: bool = True) -> bytes:
        """The resource that an event carries, empty where it has none: `unseal` for those who show resources, at two
        thirds of its cost. Without ``indented`` it comes without the indentation that it was sent with.

        Raises
        ------
        SealBroken, UnknownSchema, Poison
            As `unseal`.
        """
        meta = sealed.meta
        plan = self._plans.get((meta.type, meta.version)) or self._plan(meta.type, meta.version)
        if plan.find is None or plan.steps:
            return bytes(getattr(self.unseal(sealed, key, indented=indented), RESOURCE, b""))
        frame = unseal(sealed.body, key, meta.id.bytes + meta.subject.bytes + plan.context)
        layout, avro = frame[0] if frame else COMPACT, self.dictionaries.decompress(frame[1:])
        try:
            raw = plan.find(avro)
            if not raw or layout == VERBATIM:
                return raw
            return unpack(raw, layout if indented else COMPACT, _known(meta))
        except Exception:
            raise Poison(f"the body is not {meta.type} v{meta.version}: report this release", "bad_body") from None

    def _plan(self, type: str, version: int) -> _Plan:
        release = self.catalogue.writer(type, version)
        kind = self.catalogue.kinds[type]
        names = [leaf.name for leaf in leaves(kind.shape.cls)]
        ids = _ids(kind.shape.cls)
        plan = _Plan(
            leaves=kind.shape.leaves,
            write=kind.shape.write,
            read=kind.shape.read,
            make=kind.shape.make,
            find=finder(kind.shape.cls, RESOURCE) if RESOURCE in names else None,
            resource=names.index(RESOURCE) if RESOURCE in names else None,
            places=tuple(names.index(name) for name in ids),
            context=body_context(version, type),
            written=release.compiled,
            newest=kind.releases[kind.newest].compiled,
            steps=tuple(kind.upcasts[step] for step in range(version, kind.newest)),
        )
        self._plans[type, version] = plan
        return plan


def _shorten(values: list[Any], plan: _Plan, meta: Meta) -> int:
    """Take out of a body's values what the envelope says already; returns the layout that `_restore` needs."""
    for place in plan.places:
        if values[place] == _OWN:
            return VERBATIM
    layout, own = COMPACT, _own(meta)
    if plan.resource is not None and (raw := values[plan.resource]):
        values[plan.resource], layout = pack(raw, (_written(meta.subject), own.encode()))
    if layout != VERBATIM:
        for place in plan.places:
            if values[place] == own:
                values[place] = _OWN
    return layout


def _restore(body: Any, resource: Any, ids: Sequence[Any], layout: int, meta: Meta, facts: bool = False) -> None:
    """Put it back, into a dict or a list, at these names or places; with ``facts``, `PRESENT` for the resource."""
    raw = None if resource is None else body[resource]
    if facts and raw:
        body[resource], raw = PRESENT, None
    if layout == VERBATIM:
        return
    if raw:
        body[resource] = unpack(raw, layout, _known(meta))
    for name in ids:
        if body[name] == _OWN:
            body[name] = _own(meta)


def _known(meta: Meta) -> tuple[bytes, bytes]:
    """The texts that the envelope says already: the subject, and the id of the stream."""
    return _written(meta.subject), _own(meta).encode()


@lru_cache(maxsize=4096)
def _written(subject: UUID) -> bytes:
    return str(subject).encode()


def _own(meta: Meta) -> str:
    return meta.stream.rpartition("/")[2] or "/"


def _ids(cls: type[Any]) -> tuple[str, ...]:
    """The fields that may hold the id of the event's own stream."""
    hints = typing.get_type_hints(cls)
    return tuple(name for name in fields_of(cls) if name.endswith("_id") and hints[name] is str)


@dataclass(frozen=True, slots=True)
class _Plan:
    """How bodies of one type and version are written and read."""

    leaves: Callable[[Any], list[Any]]
    write: Callable[[Sequence[Any]], bytes]
    read: Read
    make: Callable[[Sequence[Any]], Any]
    find: Callable[[bytes], bytes] | None
    resource: int | None
    places: tuple[int, ...]
    context: bytes
    written: Any
    newest: Any
    steps: tuple[Upcast, ...]

    def lift(self, avro: bytes, layout: int, meta: Meta) -> bytes:
        """The same body as the newest version writes it."""
        source, out = BytesIO(avro), BytesIO()
        body: Any = schemaless_reader(source, self.written, None)
        if source.tell() != len(avro):
            raise ValueError("bytes follow the body")
        _restore(body, RESOURCE if RESOURCE in body else None, [n for n in body if n.endswith("_id")], layout, meta)
        for step in self.steps:
            body = step(body)
        schemaless_writer(out, self.newest, body)
        return out.getvalue()
