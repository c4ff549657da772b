"""Have every entry of a message decided, before anything is appended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, NamedTuple
from uuid import UUID

from epicrisis.codec import Codec, DataKey, KeyStore
from epicrisis.decider import Inbound, Service, To, fold, operator_of
from epicrisis.errors import Conflict, Foreign, Malformed, Refused, VersionMismatch
from epicrisis.event import Meta, event_type, event_version, makes_version
from epicrisis.fhir.codes import Reading
from epicrisis.intake.identity import event_ids
from epicrisis.intake.inbox import Message
from epicrisis.intake.items import Item
from epicrisis.intake.resolve import Resolver
from epicrisis.journal import Append, History, Journal, Naming, NewEvent


@dataclass(slots=True)
class Versions:
    """How many versions of a resource a service keeps, before a message and after it; ``changed``: it was touched."""

    before: int = 0
    after: int = 0
    changed: bool = False
    owner: str = ""
    """The operator that the first one came from."""

    @staticmethod
    def of(item: Item, plan: Mapping[str, Decided]) -> Versions:
        """Of an entry's resource, over all services that have kept it: it may change hands."""
        found = [d.versions[item.reference] for d in plan.values() if item.reference in d.versions]
        if len(found) == 1:
            return found[0]
        return Versions(
            sum(one.before for one in found),
            sum(one.after for one in found),
            any(one.changed for one in found),
            next((one.owner for one in found if one.owner), ""),
        )


@dataclass(slots=True)
class Decided:
    """What one service appends for a message; ``already`` counts what it has appended before the process was killed."""

    appends: list[Append] = field(default_factory=list)
    members: set[tuple[UUID, str]] = field(default_factory=set)
    already: int = 0
    versions: dict[str, Versions] = field(default_factory=dict)
    """By stream, of those that the message touches."""


class _Addressed(NamedTuple):
    subject: UUID
    stream: str
    to: To | None
    """None: its versions are asked for only."""
    entry: int | None
    """The index of the entry that it comes from."""


def decide_all(
    message: Message,
    resolver: Resolver,
    items: Sequence[Item],
    *,
    services: Sequence[Service],
    journals: Mapping[str, Journal],
    codec: Codec,
    keys: KeyStore,
    reading: Reading,
    again: bool = False,
) -> dict[str, Decided]:
    """Per service what it appends. One refusal refuses the whole message.

    ``reading`` reads codes as facts, by the operator's code map. ``again``: the message was begun before. A service
    that has its part already is not asked a second time: what it would say now, it would say about its own events.

    Raises
    ------
    Refused
        With the entry's place and a sentence.
    VersionMismatch
        A resource is not at the version that an entry names.
    """
    addressed, members = _read(message, resolver, items, services, reading)
    subjects = {a.subject for some in addressed.values() for a in some}
    data_keys = keys.for_subjects(subjects) if subjects else {}
    minted = {i.subject for i in items if i.found_by == "new" and i.resource_type == "Patient" and not again}
    namings = resolver.namings(items, message.received)
    plan: dict[str, Decided] = {}
    for service in services:
        commands = addressed.get(service.name)
        if commands:
            decided = _decide(
                service, commands, message, journals[service.name], codec, data_keys, minted, resolver, namings, again
            )
            if service.share is not None and not decided.already:
                decided.members |= members
            plan[service.name] = decided
    for item in items:
        if item.by_cluster_id and Versions.of(item, plan).owner not in ("", message.operator):
            raise Foreign(f"{resolver.where(item.index)}: this {item.resource_type} is another operator's")
        if item.if_none_exist and item.found_by == "new" and Versions.of(item, plan).owner:
            raise Conflict(f"{resolver.where(item.index)}: somebody else has made this {item.resource_type} meanwhile")
        if item.if_match is not None and (at := Versions.of(item, plan).before) != item.if_match:
            raise VersionMismatch(
                f"{resolver.where(item.index)}: this {item.resource_type} is at version {at}, not at {item.if_match}: "
                "read it again, then change that"
            )
    return plan


def _read(
    message: Message, resolver: Resolver, items: Sequence[Item], services: Sequence[Service], reading: Reading
) -> tuple[dict[str, list[_Addressed]], set[tuple[UUID, str]]]:
    """Ask every service's reader; what nobody keeps goes to the fallback."""
    readers = {
        kind: [(s.name, s.reads[kind]) for s in services if kind in s.reads] for s in services for kind in s.reads
    }
    fallback = next(s for s in services if s.fallback is not None)
    registry = next(s for s in services if s.share is not None)
    changing = {kind: (service.name, fallback.name) for service in services for kind in service.sometimes}
    addressed: dict[str, list[_Addressed]] = {s.name: [] for s in services}
    members: set[tuple[UUID, str]] = set()
    shared: set[tuple[UUID, str]] = set()
    for item in items:
        subject, index = item.subject, item.index
        assert subject is not None
        if item.if_none_exist and item.found_by != "new":
            kind = item.resource_type
            indexing = [s for s in services if kind in s.identifies]
            for service in indexing or [s for s in services if kind in s.reads or s is fallback]:
                addressed[service.name].append(_Addressed(subject, item.reference, None, index))
            continue
        inbound = Inbound(
            resource_type=item.resource_type,
            resource_id=item.resource_id,
            resource=item.parsed,
            raw=item.raw,
            method=item.method,
            subject=subject,
            operator=message.operator,
            clinic=message.clinic,
            now=message.received,
            resolve=resolver.reference,
            found_by=item.found_by,
            codes=reading,
        )
        kept = False
        try:
            for name, reader in readers.get(item.resource_type, ()):
                for to in reader(inbound):
                    kept = kept or to.keeps
                    addressed[name].append(_Addressed(subject, to.stream, to, index))
                    if to.shared_with:
                        shared.add((subject, to.shared_with))
            if not kept and fallback.fallback is not None:
                addressed[fallback.name] += [
                    _Addressed(subject, to.stream, to, index) for to in fallback.fallback(inbound)
                ]
        except Malformed:
            raise
        except Refused as refusal:
            raise Refused(f"{resolver.where(index)}: {refusal}") from None
        if item.resource_type == "Patient":
            members.add((subject, message.operator))
        for name in changing.get(item.resource_type, ()):
            addressed[name].append(_Addressed(subject, item.reference, None, index))
    for some in addressed.values():
        # What reports on another resource (a Task, a staging Observation) may stand before it in the Bundle.
        some.sort(key=lambda a: a.to is not None and not a.to.keeps)
    for subject, clinic in sorted(shared, key=lambda pair: (pair[0].bytes, pair[1])):
        if registry.share is not None:
            to = registry.share(subject, clinic)
            addressed[registry.name].append(_Addressed(subject, to.stream, to, None))
            members.add((subject, operator_of(clinic)))
    return addressed, members


def _already(histories: Mapping[UUID, History], message: Message, codec: Codec) -> int:
    """How many events of this message are in the journal: all of its part, or none."""
    streams = [some for history in histories.values() for some in history.streams.values()]
    return sum(codec.open(e.value).meta.message == message.id for some in streams for e in some)


def _versions(
    histories: Mapping[UUID, History], message: Message, codec: Codec, keys: Mapping[UUID, DataKey]
) -> dict[str, Versions]:
    """What `_decide` counts while it decides, from a journal that has the message's part already."""
    found: dict[str, Versions] = {}
    for subject, history in histories.items():
        for stream, events in history.streams.items():
            versions = found[stream] = Versions()
            for event in events:
                sealed = codec.open(event.value)
                versions.owner = versions.owner or sealed.meta.operator
                version = makes_version(codec.unseal(sealed, keys[subject], indented=False))
                mine = sealed.meta.message == message.id
                versions.after += version
                versions.before += version and not mine
                versions.changed = versions.changed or mine
    return found


def _decide(
    service: Service,
    commands: Sequence[_Addressed],
    message: Message,
    journal: Journal,
    codec: Codec,
    keys: Mapping[UUID, DataKey],
    minted: set[UUID | None],
    resolver: Resolver,
    namings: Mapping[int | None, list[Naming]],
    again: bool,
) -> Decided:
    by_subject: dict[UUID, list[_Addressed]] = {}
    for command in commands:
        by_subject.setdefault(command.subject, []).append(command)
    wanted = {s: {a.stream for a in some} for s, some in by_subject.items() if s not in minted}
    histories = journal.load(wanted) if wanted else {}
    # Looked at and decided on the same state: whoever began the message may still be appending.
    if again and (already := _already(histories, message, codec)):
        return Decided(already=already, versions=_versions(histories, message, codec, keys))
    decided = Decided()
    ids = event_ids(message.id, service.name)
    for subject, some in by_subject.items():
        history = histories.get(subject) or History(0, {})
        states: dict[str, Any] = {}
        named: dict[str, list[Naming]] = {}
        seq, events, key = history.head, [], keys[subject]
        for _, stream, to, index in some:
            if stream in states:
                state = states[stream]
                versions = decided.versions[stream]
            else:
                sealed = [codec.open(e.value) for e in history.streams.get(stream, ())]
                past = [codec.unseal(one, key, indented=False) for one in sealed]
                state = states[stream] = fold(service.evolve, service.initial(), past)
                count = sum(map(makes_version, past))
                versions = decided.versions[stream] = Versions(count, count)
                versions.owner = sealed[0].meta.operator if sealed else ""
            if to is None:
                continue
            try:
                bodies = service.decide(to.command, state)
            except Malformed:
                raise
            except Refused as refusal:
                raise Refused(f"{_where(resolver, index)}: {refusal}") from None
            for body in bodies:
                state = service.evolve(state, body)
                seq += 1
                versions.after += makes_version(body)
                versions.changed = True
                meta = Meta(
                    id=next(ids),
                    type=event_type(body),
                    version=event_version(body),
                    source=service.name,
                    operator=message.operator,
                    clinic=message.clinic,
                    subject=subject,
                    seq=seq,
                    stream=stream,
                    effective=to.effective or message.received,
                    recorded=message.received,
                    message=message.id,
                )
                value = codec.encode(meta, body, key)
                events.append(NewEvent(meta.id, seq, stream, meta.type, message.received, value))
            states[stream] = state
            if namings and bodies and to.keeps:
                named[stream] = namings.get(index, [])
        if events:
            decided.appends.append(Append(subject, history.head, events, list(chain.from_iterable(named.values()))))
    return decided


def _where(resolver: Resolver, index: int | None) -> str:
    return "Bundle" if index is None else resolver.where(index)
