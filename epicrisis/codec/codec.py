"""The codec: an event to a Kafka record value, and back."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

import msgspec
from fastavro import schemaless_reader, schemaless_writer

from epicrisis.codec.catalogue import Catalogue
from epicrisis.codec.dictionaries import Dictionaries
from epicrisis.codec.envelope import Envelopes
from epicrisis.codec.keys import DataKey
from epicrisis.codec.sealing import body_context, seal, unseal
from epicrisis.errors import Poison, UnknownSchema
from epicrisis.event import Meta

Plain = dict[str, Any]


class Sealed(msgspec.Struct, frozen=True, gc=False):
    """An event whose envelope was read: ``body`` is still sealed under the key ``meta.key``."""

    meta: Meta
    body: bytes


class Codec:
    """Writes and reads record values. Share one between threads.

    Value: 0x00, the envelope's schema id (4 bytes, big-endian), the envelope in Avro. Its body: Avro, compressed with
    zstd (with the dictionary for the resource type, the stream's part before "/"), sealed under the subject's key.
    """

    def __init__(self, catalogue: Catalogue, dictionaries: Dictionaries) -> None:
        self.catalogue = catalogue
        self.dictionaries = dictionaries
        self._envelopes = Envelopes(catalogue.envelope)
        self._writers: dict[tuple[str, int], tuple[Any, Callable[[Any], Plain]]] = {}
        self._readers: dict[tuple[str, int], tuple[Any, Callable[[Plain], Any]]] = {}

    def encode(self, meta: Meta, body: object, key: DataKey) -> bytes:
        """The final record value of an event: what the journal stores and the relay sends.

        The envelope's ``key`` is ``key.id``, whatever ``meta.key`` says. Costs about 20 µs for an average event.

        Raises
        ------
        Refused
            The body is over 16 MiB.
        UnknownSchema
            ``meta.type`` and ``meta.version`` are not those of a class in the catalogue.
        """
        kind = meta.type, meta.version
        schema, dump = self._writers.get(kind) or self._writer(kind)
        out = BytesIO()
        schemaless_writer(out, schema, dump(body))
        frame = self.dictionaries.compress(out.getvalue(), meta.stream.partition("/")[0])
        id, subject = meta.id.bytes, meta.subject.bytes
        sealed = seal(frame, key, body_context(id, subject, meta.version, meta.type))
        return self._envelopes.write(meta, id, subject, key.id_bytes, sealed)

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

    def unseal(self, sealed: Sealed, key: DataKey) -> Any:
        """The event body: an object of the newest class, lifted if it was written with an older schema.

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
        kind = meta.type, meta.version
        schema, build = self._readers.get(kind) or self._reader(kind)
        frame = unseal(sealed.body, key, body_context(meta.id.bytes, meta.subject.bytes, meta.version, meta.type))
        avro = self.dictionaries.decompress(frame)
        source = BytesIO(avro)
        try:
            plain: Any = schemaless_reader(source, schema, None)
            body = build(plain)
        except Exception:
            raise Poison(f"the body is not {meta.type} v{meta.version}: report this release", "bad_body") from None
        if source.tell() != len(avro):
            raise Poison(f"bytes follow the body of {meta.type} v{meta.version}: report this release", "bad_body")
        return body

    def _writer(self, kind: tuple[str, int]) -> tuple[Any, Callable[[Any], Plain]]:
        release = self.catalogue.writer(*kind)
        known = self.catalogue.kinds[kind[0]]
        if kind[1] != known.newest:
            raise UnknownSchema(f"{kind[0]} is written as v{known.newest}, not v{kind[1]}: take the class's version")
        made = release.compiled, known.shape.dump
        self._writers[kind] = made
        return made

    def _reader(self, kind: tuple[str, int]) -> tuple[Any, Callable[[Plain], Any]]:
        release = self.catalogue.writer(*kind)
        known = self.catalogue.kinds[kind[0]]
        made = (
            release.compiled,
            _lifting([known.upcasts[step] for step in range(kind[1], known.newest)], known.shape.build),
        )
        self._readers[kind] = made
        return made


def _lifting(steps: list[Callable[[Plain], Plain]], build: Callable[[Plain], Any]) -> Callable[[Plain], Any]:
    if not steps:
        return build

    def lift(body: Plain) -> Any:
        for step in steps:
            body = step(body)
        return build(body)

    return lift
