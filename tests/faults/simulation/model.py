"""What the simulated cluster is about: three tiny services, a codec without secrets, three read models, messages."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Any
from uuid import UUID

import msgspec

from epicrisis.codec import Catalogue, DataKey, Sealed
from epicrisis.codec.envelope import Envelopes
from epicrisis.decider import Inbound, Service, To
from epicrisis.errors import Poison, Refused
from epicrisis.event import Meta, event, event_type, record, replace
from epicrisis.fhir.gate import Checked, Gate
from epicrisis.projection import Projection, Scope
from tests.kernel_support import bundle, condition, observation, patient

OPERATOR, CLINIC = "charite", "charite/gyn"

# Events


@event()
class Registered:
    who: str


@event()
class Changed:
    who: str
    version: int


@event()
class Shared:
    clinic: str


@event()
class Noted:
    what: str


@event()
class Amended:
    what: str
    version: int


@event()
class Kept:
    what: str
    version: int


BODIES = {event_type(cls): cls for cls in (Registered, Changed, Shared, Noted, Amended, Kept)}


CLOSED = 3
"""So often a note may change: a refusal that rests on what happened before."""

# Services: what they decide rests on what they have decided before, so that a stale decision shows


@dataclass(frozen=True, slots=True)
class Put:
    what: str


@dataclass(frozen=True, slots=True)
class Share:
    clinic: str


@dataclass(frozen=True, slots=True)
class Known:
    what: str
    version: int


def _registry(command: Any, state: Known | None) -> Sequence[Any]:
    if isinstance(command, Share):
        return [Shared(clinic=command.clinic)]
    if state is None:
        return [Registered(who=command.what)]
    return [Changed(who=command.what, version=state.version + 1)] if state.what != command.what else []


def _notes(command: Put, state: Known | None) -> Sequence[Any]:
    if "bad" in command.what:
        raise Refused("this is not a unit")
    if state is None:
        return [Noted(what=command.what)]
    if state.version >= CLOSED:
        raise Refused("this was amended too often")
    return [Amended(what=command.what, version=state.version + 1)] if state.what != command.what else []


def _rest(command: Put, state: Known | None) -> Sequence[Any]:
    if state is not None and state.what == command.what:
        return []
    return [Kept(what=command.what, version=state.version + 1 if state else 1)]


def _evolve(state: Known | None, body: Any) -> Known | None:
    match body:
        case Shared():
            return state
        case Registered(who=what) | Noted(what=what):
            return Known(what, 1)
        case _:
            what = body.who if isinstance(body, Changed) else body.what
            return Known(what, body.version)


def _initial() -> Known | None:
    return None


def _put(inbound: Inbound) -> Sequence[To]:
    name = inbound.resource.name[0].family if inbound.resource_type == "Patient" else ""
    unit = inbound.resource.valueQuantity if inbound.resource_type == "Observation" else None
    what = name or (f"{unit.value}{unit.unit}" if unit else str(len(inbound.raw)))
    return [To(stream=inbound.stream, command=Put(what))]


def _share(subject: UUID, clinic: str) -> To:
    return To(stream=f"Patient/{subject}", command=Share(clinic), keeps=False)


def _service(name: str, decide: Any, **more: Any) -> Service:
    return Service(name=name, decide=decide, evolve=_evolve, initial=_initial, **{"reads": {}, **more})


SERVICES = {
    s.name: s
    for s in (
        _service("registry", _registry, reads={"Patient": _put}, identifies=frozenset({"Patient"}), share=_share),
        _service("notes", _notes, reads={"Observation": _put}),
        _service("rest", _rest, fallback=_put),
    )
}


# The codec: the real envelope, so that garbage is told from events as ever; bodies in the clear


class PlainCodec:
    """See `Codec`."""

    def __init__(self) -> None:
        self._envelopes = Envelopes(Catalogue.load().envelope)

    def encode(self, meta: Meta, body: object, key: DataKey) -> bytes:
        plain = msgspec.msgpack.encode(body)
        return self._envelopes.write(meta, meta.id.bytes, meta.subject.bytes, key.id_bytes, plain)

    def open(self, value: bytes) -> Sealed:
        return Sealed(*self._envelopes.read(value))

    def unseal(self, sealed: Sealed, key: DataKey | None, **_: Any) -> Any:
        try:
            return msgspec.msgpack.decode(sealed.body, type=BODIES[sealed.meta.type])
        except (KeyError, msgspec.MsgspecError):
            raise Poison("no body", "bad_body") from None


class _Clear:
    """What looks like a cipher."""

    def encrypt(self, nonce: bytes, plain: bytes, context: bytes) -> bytes:
        return plain + bytes(16)

    def decrypt(self, nonce: bytes, sealed: bytes, context: bytes) -> bytes:
        return sealed[:-16]


class PlainKeys:
    """See `KeyStore`: a subject's key has the subject's id."""

    def for_subjects(self, subjects: Collection[UUID]) -> dict[UUID, DataKey]:
        return {subject: DataKey(subject, subject, _Clear()) for subject in subjects}  # type: ignore[arg-type]

    by_ids = for_subjects

    def destroy(self, subject: UUID) -> bool:
        raise NotImplementedError("nobody is erased here")

    def close(self) -> None:
        pass


@cache
def plain_codec() -> Any:
    return PlainCodec()


class RememberingGate(Gate):
    """The real gate; the same bytes are looked at once."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[bytes, Checked] = {}

    def check(self, raw: bytes) -> Checked:
        found = self._seen.get(raw)
        if found is None:
            found = self._seen[raw] = super().check(raw)
        return found


@cache
def gate() -> RememberingGate:
    return RememberingGate()


# Read models


@record
class Trail:
    """Every event of a subject, in the order in which it was applied: a double, a gap, an inversion shows."""

    subject: UUID
    trail: tuple[tuple[str, int], ...] = ()
    last: int = 0


@record
class Stream:
    """The last version of each resource; every third one removes the row."""

    subject: UUID
    stream: str
    version: int


@record
class Sum:
    """How many events of a type a clinic has."""

    clinic: str
    type: str
    events: int


def _trail(row: Trail | None, meta: Meta) -> Trail:
    row = row or Trail(subject=meta.subject)
    return replace(row, trail=(*row.trail, (meta.source, meta.seq)), last=meta.id.int)


class Models:
    """The read models of one world. ``fragile`` leaves types out, and a function of it fails on some events until it
    is ``mended``; of ``refused`` the database takes some rows not."""

    def __init__(self) -> None:
        self.mended = False
        self.trails = Projection(name="trails", version=1, scope=Scope.CLUSTER)
        self.trails.table(key=("subject",))(Trail)
        self.trails.counter(key=("clinic", "type"), sums=("events",), name="sums")(Sum)
        self.trails.on_any(Trail, rows=_by_subject)(_trail)
        self.trails.count_any(Sum)(_count)
        self.fragile = Projection(name="fragile", version=1, scope=Scope.CLUSTER)
        self.fragile.table(key=("subject",))(Trail)
        self.fragile.table(key=("subject", "stream"), name="streams")(Stream)
        self.fragile.counter(key=("clinic", "type"), sums=("events",), name="sums")(Sum)
        self.fragile.on_any(Stream, rows=lambda meta: [(meta.subject, meta.stream)], but=[Kept, Amended])(_stream)
        self.fragile.on_any(Trail, rows=_by_subject, but=[Kept, Amended])(self._breaks)
        self.fragile.count_any(Sum, but=[Kept, Amended])(_count)
        self.refused = Projection(name="refused", version=1, scope=Scope.CLUSTER)
        self.refused.table(key=("subject",))(Trail)
        self.refused.counter(key=("clinic", "type"), sums=("events",), name="sums")(Sum)
        for body in BODIES.values():
            self.refused.on(body, Trail)(lambda row, _, meta: _trail(row, meta))
            self.refused.count(body, Sum)(lambda _, meta: _count(meta))

    @property
    def all(self) -> list[Projection]:
        return [self.trails, self.fragile, self.refused]

    def _breaks(self, row: Trail | None, meta: Meta) -> Trail:
        if not self.mended and meta.id.int % 9 == 0:
            raise LookupError("not mended yet")
        return _trail(row, meta)

    def refuses(self, row: Any) -> bool:
        """Whether the database does not take this row."""
        return not self.mended and isinstance(row, Trail) and row.last % 11 == 0


def _by_subject(meta: Meta) -> Iterable[tuple[UUID]]:
    return [(meta.subject,)]


def _stream(row: Stream | None, meta: Meta) -> Stream | None:
    version = row.version + 1 if row else 1
    return None if version == 3 else Stream(subject=meta.subject, stream=meta.stream, version=version)


def _count(meta: Meta) -> list[Sum]:
    return [Sum(clinic=meta.clinic, type=meta.type, events=1)]


# Messages


def message(chance: Random) -> bytes:
    """A Bundle about one patient or two, from a small world, so that the same things are sent again and changed."""
    resources: list[dict[str, Any]] = []
    for who in chance.sample(PATIENTS, chance.choice((1, 1, 1, 2))):
        resources.append(patient(who, number=who[1:], family=chance.choice(("Meier", "Maier", "Mayer"))))
        for n in range(chance.choice((0, 1, 1, 2, 3))):
            one = observation(f"o{chance.randint(1, 2)}{who}", chance.randint(1, 9), to=f"Patient/{who}")
            if n == 0 and chance.random() < 0.04:
                one["valueQuantity"]["unit"] = "bad"
            resources.append(one)
        if chance.random() < 0.4:
            state = chance.choice(("provisional", "confirmed"))
            resources.append(condition(f"c{who}", state, to=f"Patient/{who}"))
        if chance.random() < 0.15:
            sample = observation("", chance.randint(1, 9), to=f"Patient/{who}")
            del sample["id"]
            resources.append(sample | {"identifier": [{"system": "urn:samples", "value": who}]})
    made = json.loads(bundle(*resources))
    for entry in made["entry"]:
        if "id" not in entry["resource"]:
            (sample,) = entry["resource"]["identifier"]
            entry["request"]["ifNoneExist"] = f"identifier={sample['system']}|{sample['value']}"
    return json.dumps(made).encode()


PATIENTS = ["p1", "p2", "p3", "p4"]
