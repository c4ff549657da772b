"""Receive a message: gate, resolve, record, decide everything, then append service by service.

There is no transaction across the services' databases. So the sealed original is recorded first, its subjects are
occupied (one message at a time writes to a subject), everything is decided before the first append, and every append
is one transaction with event ids made from message and service. Killed in between, the message is finished by
whoever finds it next; sent again, it gets the first answer. A refused message is forgotten: sent again, it is judged
anew.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from epicrisis import logging
from epicrisis.codec import Codec, KeyStore
from epicrisis.decider import Service
from epicrisis.errors import Conflict, KeyLost, Poison, Refused, TooManyConflicts
from epicrisis.fhir.codes import Reading
from epicrisis.fhir.gate import Checked, Gate
from epicrisis.grouped import pause
from epicrisis.intake.check import check
from epicrisis.intake.deciding import Decided, decide_all
from epicrisis.intake.identity import Digests, message_id, named_message_id
from epicrisis.intake.inbox import Inbox, Message, Plain, seal_original, unseal_original
from epicrisis.intake.items import Item
from epicrisis.intake.known import Known
from epicrisis.intake.receipt import Receipt, outcomes
from epicrisis.intake.resolve import Resolver
from epicrisis.intake.terms import CodeMaps, Terms
from epicrisis.journal import Claim, Journal

TRIES = 5
BUSY_SECONDS = 10.0
PAUSE_SECONDS = 0.02
ERASED = "this patient's record was erased: nothing more may be written about it"

log = logging.get(__name__)


class Intake:
    """The one way in. One for each message at hand: the gate owns scratch space."""

    def __init__(
        self,
        *,
        services: Mapping[str, Service],
        journals: Mapping[str, Journal],
        inbox: Inbox,
        codec: Codec,
        keys: KeyStore,
        digests: Digests,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        ticks: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = pause,
        gate: Gate | None = None,
        terms: Mapping[str, Terms] | None = None,
    ) -> None:
        self._services = order(services)
        self._journals = journals
        self._inbox = inbox
        self._codec = codec
        self._keys = keys
        self._digests = digests
        self._clock = clock
        self._ticks = ticks
        self._pause = pause
        self._gate = gate or Gate()
        self._checks = {name: one.checks for name, one in (terms or {}).items()}
        self._codes = CodeMaps(inbox, terms or {})
        self._identifying = {
            kind: (service, journals[service.name]) for service in self._services for kind in service.identifies
        }
        self._identity = next((s, journals[s.name]) for s in self._services if s.share is not None)

    def check(self, raw: bytes, operator: str = "") -> Checked:
        """The gate alone, with the operator's own checks if it is named, for whoever runs it ahead of `receive`."""
        checked = check(self._gate, raw)
        if operator:
            checked.pass_on(self._checks.get(operator, ()))
        return checked

    def receive(
        self,
        raw: bytes,
        *,
        operator: str,
        clinic: str,
        door: str,
        checked: Checked | None = None,
        name: str | None = None,
        source: bytes = b"",
        mark: str = "",
    ) -> Receipt:
        """Take a message in, wholly or not at all.

        ``name`` is what the door's protocol calls the message: the same name again gets the first answer, whatever the
        bytes are. Without one, the same bytes from the same clinic do. ``source``: what came, where the door has made
        the Bundle from something else; kept with it. ``mark``: what the door wants to hear again with the first answer.

        Raises
        ------
        Refused
            With its place and a sentence; nothing was appended.
        TooManyConflicts
            Others were faster again and again; nothing was appended, or what was will be finished.
        """
        id_ = message_id(operator, clinic, raw) if name is None else named_message_id(operator, door, name)
        tries, looked, deadline = 0, False, self._ticks() + BUSY_SECONDS
        while tries < TRIES and self._ticks() <= deadline:
            with self._inbox.watching(id_) as (mine, found):
                if mine and found is not None and not _open(*found):
                    return Receipt.again(id_, found[1] or {})
                if mine and (looked or found is None or found[0] == "done"):
                    checked = checked or self.check(raw)
                    checked.pass_on(self._checks.get(operator, ()))
                    try:
                        resolver, items = self._resolve(checked, id_, operator)
                        original = Plain(raw, checked.raw, checked.unit, source)
                        message, subjects = self._sealed(original, id_, operator, clinic, door, items)
                        if self._occupy(message, subjects):
                            for begun in self._inbox.unfinished(id_) if found is not None else ():
                                message = replace(message, codes=begun.codes)
                            return self._carry_out(message, resolver, items, again=found is not None, mark=mark)
                    except Conflict:
                        tries, looked = tries + 1, True
                        continue
                    except Refused as refusal:
                        self._refuse(id_, refusal, again=found is not None)
                        raise
            first, looked = self._first_answer(id_), True
            if first is not None:
                return first
            self._pause(PAUSE_SECONDS)
        raise TooManyConflicts("others kept writing to the same patient: wait a little, then send the message again")

    def _sealed(
        self, original: Plain, id_: UUID, operator: str, clinic: str, door: str, items: list[Item]
    ) -> tuple[Message, set[UUID]]:
        """The message as it is kept, and whom it is about."""
        subjects = _subjects(items)
        main = _main_subject(items) or id_
        try:
            key = self._keys.for_subjects({*subjects, main})[main]
        except KeyLost:
            raise Refused(ERASED) from None
        message = Message(
            id=id_,
            received=self._clock(),
            operator=operator,
            clinic=clinic,
            door=door,
            key=key.id,
            original=seal_original(original, key, id_),
            codes=self._codes.digest(operator),
        )
        return message, subjects

    def recover(self) -> int:
        """Finish what was killed in between; returns how many messages were finished."""
        return sum(self._finish_if_possible(message) for message in self._inbox.unfinished())

    def _finish_if_possible(self, message: Message) -> int:
        """A message that cannot be finished (its patient was erased, its original is damaged) holds up no other."""
        try:
            return self._finish(message)
        except Poison as problem:
            log.error("message cannot be finished", message_id=str(message.id), reason=problem.reason)
            return 0

    def _first_answer(self, id_: UUID) -> Receipt | None:
        found = self._inbox.result(id_)
        if found is None:
            return None
        if found[0] == "received":
            for message in self._inbox.unfinished(id_):
                self._finish(message)
            found = self._inbox.result(id_)
        if found is None or _open(*found):
            return None
        result = found[1]
        assert result is not None
        return Receipt.again(id_, result)

    def _resolve(self, checked: Checked, id_: UUID, operator: str) -> tuple[Resolver, list[Item]]:
        resolver = Resolver(
            checked,
            message=id_,
            operator=operator,
            digests=self._digests,
            identifying=self._identifying,
            known=Known(self._identifying, self._keeping, self._identity),
        )
        return resolver, resolver.resolve()

    def _keeping(self, kind: str) -> list[Journal]:
        """The journals that may keep resources of a type: of those who read it, and of the fallback."""
        return [self._journals[s.name] for s in self._services if s.may_keep(kind)]

    def _occupy(self, message: Message, subjects: set[UUID]) -> bool:
        """Record the message and occupy its subjects, waiting for the living, finishing for the dead."""
        deadline = self._ticks() + BUSY_SECONDS
        while others := self._inbox.record(message, subjects):
            for other in others:
                for unfinished in self._inbox.unfinished(other):
                    self._finish(unfinished)
            if self._ticks() > deadline:
                return False
            self._pause(PAUSE_SECONDS)
        return True

    def _finish(self, message: Message) -> int:
        """Carry out a recorded message whose process is gone; 0 where somebody alive is at it, or before it."""
        with self._inbox.watching(message.id) as (mine, found):
            if not mine or found is None or found[0] == "done":
                return 0
            key = self._keys.by_ids([message.key]).get(message.key)
            if key is None:
                self._refuse(message.id, Refused(ERASED), again=True)
                return 1
            raw = unseal_original(message.original, key, message.id)
            for _ in range(TRIES):
                try:
                    resolver, items = self._resolve(self.check(raw), message.id, message.operator)
                    if self._inbox.record(message, _subjects(items)):  # after a Conflict: others than before
                        return 0
                    self._carry_out(message, resolver, items, again=True)
                    break
                except Conflict:
                    continue
                except Refused as refusal:  # what it refers to has changed since: nobody may wait for it for ever
                    self._refuse(message.id, refusal, again=True)
                    break
            else:
                return 0
            log.info("message finished", message_id=str(message.id), operator=message.operator)
            return 1

    def _carry_out(
        self, message: Message, resolver: Resolver, items: list[Item], *, again: bool, mark: str = ""
    ) -> Receipt:
        """Decide everything, then append; the result is remembered."""
        reading = Reading(self._codes.of(message.codes))
        decide = self._decide(message, resolver, items, reading)
        plan = decide(again)
        claims = resolver.claims(items)
        events: dict[str, int] = {}
        for service in self._services:
            mine = claims.get(service.name, [])
            if service.name in plan or mine:
                plan.setdefault(service.name, Decided())
                events[service.name] = self._append(service, plan, mine, decide)
        happened = {name: n for name, n in events.items() if n}
        receipt = Receipt(
            message.id,
            len(items),
            happened,
            entries=outcomes(items, plan),
            unmapped=len(reading.unmapped),
            mark=mark,
            patients=tuple(sorted(map(str, _patients(items)))),
        )
        self._inbox.finish(message.id, receipt.result(), reading.unmapped)
        return receipt

    def _refuse(self, id_: UUID, refusal: Refused, *, again: bool) -> None:
        """Forget a refused message, so that it is judged anew when it is sent again. Its subjects are free.

        One that was begun before (``again``) may have events in a journal, and a later release or other identifiers
        refuse its rest: that one is kept, and what is left of it judged anew.
        """
        if again and self._begun(id_):
            self._inbox.finish(id_, {"refused": str(refusal)})
            log.error("message refused after a part of it was appended", message_id=str(id_), error=refusal)
        else:
            self._inbox.forget(id_)

    def _begun(self, id_: UUID) -> bool:
        """Whether a journal has events of this message. Nobody else wrote to its subjects since: they would be last."""
        found = self._inbox.result(id_)
        if found is not None and found[1] is not None:  # it was refused in the middle before
            return True
        subjects = self._inbox.occupied(id_)
        for journal in self._journals.values():
            for subject, history in journal.load(dict.fromkeys(subjects, ())).items():
                last = journal.after(subject, history.head, history.head)
                if any(self._codec.open(value).meta.message == id_ for value in last):
                    return True
        return False

    def _decide(
        self, message: Message, resolver: Resolver, items: list[Item], reading: Reading
    ) -> Callable[[bool], dict[str, Decided]]:
        def decide(again: bool) -> dict[str, Decided]:
            return decide_all(
                message,
                resolver,
                items,
                services=self._services,
                journals=self._journals,
                codec=self._codec,
                keys=self._keys,
                reading=reading,
                again=again,
            )

        return decide

    def _append(
        self,
        service: Service,
        plan: dict[str, Decided],
        claims: list[Claim],
        decide: Callable[[bool], dict[str, Decided]],
    ) -> int:
        """Append one service's part. Somebody else was first: read again, decide again, a bounded number of times."""
        for attempt in range(TRIES):
            decided = plan[service.name]
            if decided.already or not (decided.appends or decided.members or claims):
                return decided.already
            try:
                done = self._journals[service.name].append(decided.appends, claims, decided.members)
                return len(done.seqs)
            except Conflict:
                if claims or attempt == TRIES - 1:
                    raise
                plan[service.name] = decide(True)[service.name]
        raise AssertionError("unreachable")


def order(services: Mapping[str, Service]) -> list[Service]:
    """Who identifies comes first, who keeps the rest last."""
    return sorted(services.values(), key=lambda s: (not s.identifies, s.fallback is not None, s.name))


def _open(state: str, result: dict[str, Any] | None) -> bool:
    """Whether a recorded message still has to be decided: unfinished, or refused in the middle."""
    return state == "received" or result is None or "refused" in result


def _subjects(items: list[Item]) -> set[UUID]:
    """Whom these are about."""
    return {item.subject for item in items if item.subject is not None}


def _patients(items: list[Item]) -> set[UUID | None]:
    """The patients among them."""
    return {item.subject for item in items if not item.alone}


def _main_subject(items: list[Item]) -> UUID | None:
    """The one patient that a message is about, if it is about one."""
    patients = _patients(items)
    return patients.pop() if len(patients) == 1 else None
