"""What must hold: some of it at every commit, the rest when everything has come to rest."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

from epicrisis.audit.chain import ENTRY, entry_of, first_link, next_link
from epicrisis.event import Meta
from epicrisis.folding import folded
from epicrisis.intake import Receipt
from epicrisis.journal import Append
from epicrisis.projecting.memory import MemoryTransaction
from epicrisis.projecting.store import Archived
from epicrisis.projection import SHAPED_BY, Projection
from epicrisis.slices import slice_of
from tests.faults.simulation.model import Models, Trail, plain_codec
from tests.faults.simulation.schedule import Seen
from tests.faults.simulation.servers import Journal, Outgoing, Store
from tests.faults.simulation.topic import Log


def must(holds: bool, what: str, *about: Any) -> None:
    """``what`` is written out, with ``about`` in its braces, where it does not hold: millions of times it does."""
    if not holds:
        raise Seen(what.format(*about))


Event = tuple[str, UUID, int]
"""Service, subject, seq."""
Fact = tuple[Any, Meta, int]
"""An event's body, its meta, and its number in the subject's ledger."""


class Truth:
    """Everything that was ever committed to a journal, and what must follow from it."""

    def __init__(self) -> None:
        self.values: dict[Event, bytes] = {}
        self.known: set[bytes] = set()
        self.metas: dict[bytes, Meta] = {}
        self.ids: set[UUID] = set()
        self.heads: Counter[tuple[str, UUID]] = Counter()
        self.versions: dict[tuple[str, str], int] = {}
        self.by_message: dict[UUID, Counter[str]] = {}
        self.receipts: dict[UUID, Receipt] = {}
        self.conditions: dict[str, str] = {}

    # At every commit

    def appended(self, outgoing: Mapping[str, Outgoing], journal: Journal, appends: Sequence[Append], pos: int) -> None:
        """Gapless, each event once, each version decided on the one before, and not behind the relay's back."""
        for a in appends:
            cursor = outgoing[journal.name].cursors.get(slice_of(a.subject), 0)
            must(pos > cursor, "{}: committed at {}, the relay has passed {}", journal.name, pos, cursor)
            for e in a.events:
                place = journal.name, a.subject
                self.heads[place] += 1
                must(e.seq == self.heads[place], "{}: seq {} follows {}", place, e.seq, self.heads[place] - 1)
                must(e.id not in self.ids, "{}: event {} is appended twice", place, e.id)
                self.ids.add(e.id)
                sealed = plain_codec().open(e.value)
                body = plain_codec().unseal(sealed, None)
                if sealed.meta.type != "model.Shared":
                    version, at = getattr(body, "version", 1), (journal.name, e.stream)
                    decided_on = self.versions.get(at, 0)
                    must(version == decided_on + 1, "{}: version {} was decided on an old state", at, version)
                    self.versions[at] = version
                message = sealed.meta.message
                assert message is not None
                self.by_message.setdefault(message, Counter())[journal.name] += 1
                self.values[journal.name, a.subject, e.seq] = e.value
                self.known.add(e.value)
                self.metas[e.value] = sealed.meta
                pos += 1

    def cursors_moved(self, log: Log, outgoing: Outgoing, cursors: Mapping[int, int]) -> None:
        """Only over what is in the log."""
        for slice_, upto in cursors.items():
            old = outgoing.cursors.get(slice_, 0)
            must(upto >= old, "{}: a cursor went back", outgoing.journal.name)
            for row in outgoing.journal.rows[slice_]:
                if old < row.pos <= upto:
                    place = outgoing.journal.name, slice_, row.pos
                    must(row.value in log.values, "{}: the cursor has passed it, and it is not in the log", place)

    def committed(self, before: Mapping[Any, Any], at: MemoryTransaction) -> None:
        """Offsets go forward, trails and the ledger grow by the next events only."""
        archived: dict[UUID, list[Archived]] = {}
        for name, row in at.written.items():
            if name[0] == "offset":
                old = before[name] or (0, 0)
                must(row[0] >= old[0] and row[1] >= old[1], "{}: from {} to {}", name, old, row)
            elif isinstance(row, Trail):
                self._grown(name, before[name], row)
            elif isinstance(row, Archived):
                must(before[name] is None, "{}: archived twice", name)
                archived.setdefault(row.subject, []).append(row)
        for subject, events in archived.items():
            n, link = before.get(("chain", subject)) or (0, first_link(subject))
            for event in sorted(events, key=lambda e: e.n):
                n, link = n + 1, next_link(link, event.value)
                must((event.n, event.link) == (n, link), "{}: the chain is broken at {}", subject, event.n)
                journalled = self.values.get((event.source, subject, event.seq))
                must(journalled == event.value, "{}: never journalled", subject)
            must(at.written.get(("chain", subject)) == (n, link), "{}: the head is not the end of the chain", subject)

    def _grown(self, name: Any, old: Trail | None, new: Trail) -> None:
        past = old.trail if old else ()
        must(new.trail[: len(past)] == past, "{}: its past has changed", name)
        last = Counter(dict(past))  # a trail's later entries replace its earlier ones
        for source, seq in new.trail[len(past) :]:
            gapless = seq == last[source] + 1 or (name[0] == "fragile_v1" and seq > last[source])  # it leaves some out
            must(gapless, "{}: {} {} was applied after {}", name, source, seq, last[source])
            last[source] = seq

    def answered(self, raw: bytes, receipt: Receipt) -> None:
        """What is acknowledged is in the journals; the same message gets the same answer for ever, and what a condition
        names is made once.
        """
        id_ = receipt.message
        journalled = dict(self.by_message.get(id_, {}))
        must(journalled == dict(receipt.events), "message {}: {}, but not journalled so", id_, receipt)
        first = self.receipts.setdefault(id_, receipt)
        must(dict(first.events) == dict(receipt.events), "message {}: first {}, then {}", id_, first, receipt)
        for entry, made in zip(json.loads(raw)["entry"], receipt.entries, strict=True):
            if condition := entry["request"].get("ifNoneExist"):
                first_id = self.conditions.setdefault(condition, made.id)
                must(made.id == first_id, "{}: {} was made for it, then {}", condition, first_id, made.id)
                version = self.versions.get(("notes", f"Observation/{made.id}"))
                must(version == 1, "{}: {} has version {}", condition, made.id, version)

    # At rest

    def at_rest(
        self,
        *,
        log: Log,
        store: Store,
        models: Models,
        outgoing: Mapping[str, Outgoing],
        consumers: Collection[str],
        receipts: Mapping[UUID, Mapping[str, int]],
        refused: Collection[UUID],
        garbage: int,
    ) -> None:
        """Acknowledged ⊆ log ⊆ ledger, each once; every read model is the fold of the ledger; nobody is behind."""
        for id_, events in self.by_message.items():
            must(id_ in receipts, "message {} was appended, and is not done", id_)
            must(receipts[id_] == dict(events), "message {}: done as {}, journalled {}", id_, receipts[id_], events)
            must(id_ not in refused, "message {} was refused, and appended", id_)
        lost = [event for event, value in self.values.items() if value not in log.values]
        must(not lost, "never published: {}", lost)
        for name, one in outgoing.items():
            behind = {s: (one.cursors.get(s, 0), tail) for s, tail in one.journal.tails.items()}
            must(all(at >= tail for at, tail in behind.values()), "the relay of {} stays behind: {}", name, behind)
        for consumer in consumers:
            for partition, end in log.ends().items():
                at = (store.rows.get(("offset", consumer, partition)) or (0, 0))[0]
                must(at == end, "{} stays at {} of {} in partition {}", consumer, at, end, partition)
        waiting = sorted({name[1:3] for name in store.rows if name[0] == "parked"}, key=repr)
        must(not waiting, "still parked: {}", waiting)
        aside = sum(name[0] == "poison" for name in store.rows)
        must(aside == garbage, "{} records belong to no subject, {} were set aside", garbage, aside)
        ledger = self._ledger(store)
        facts = [self._facts(events) for events in ledger.values()]
        for projection in models.all:
            self._folded(projection, facts, store)

    def _ledger(self, store: Store) -> dict[UUID, list[Archived]]:
        archived = {name[1:]: row for name, row in store.rows.items() if name[0] == "event"}
        journalled = {(subject, source, seq) for source, subject, seq in self.values}
        differ = archived.keys() ^ journalled
        must(not differ, "the ledger differs from the journals: {}", differ)
        self._entered(archived.values(), store)
        ledger: dict[UUID, list[Archived]] = {}
        for event in sorted(archived.values(), key=lambda e: e.n):
            ledger.setdefault(event.subject, []).append(event)
        return ledger

    def _entered(self, events: Collection[Archived], store: Store) -> None:
        """The entries of the partitions' trees are those of the archived events, each at its place."""
        trees: dict[int, bytes] = {}
        for (_, partition, first), entries in sorted((n, row) for n, row in store.rows.items() if n[0] == "entries"):
            tree = trees.setdefault(partition, b"")
            must(
                len(tree) == first * ENTRY, "partition {}: {} entries are said to be before this one", partition, first
            )
            trees[partition] = tree + entries
        expected = {(event.leaf, entry_of(event.subject, event.n, event.link)) for event in events}
        found = [(at // ENTRY, tree[at : at + ENTRY]) for tree in trees.values() for at in range(0, len(tree), ENTRY)]
        must(len(found) == len(events), "{} events, {} entries in the trees", len(events), len(found))
        must(set(found) == expected, "the entries in the trees are not those of the events")

    def _facts(self, events: Sequence[Archived]) -> list[Fact]:
        """A subject's events as its ledger has them."""
        return [(plain_codec().unseal(plain_codec().open(e.value), None), self.metas[e.value], e.n) for e in events]

    def _folded(self, projection: Projection, ledger: Sequence[Sequence[Fact]], store: Store) -> None:
        expected: dict[str, set[Any]] = {}
        shaped: dict[Any, Any] = {}
        sums: Counter[Any] = Counter()
        keys = {table.name: table.key_of for table in projection.tables.values()}
        for facts in ledger:
            made = folded(projection, facts)
            for table, rows in made.rows.items():
                for row in rows:
                    if hasattr(row, "events"):
                        sums[row.clinic, row.type] += row.events
                    else:
                        expected.setdefault(table, set()).add(row)
                        place = table, keys[table](row)
                        shaped[place] = made.shaped[place]
        found: dict[str, set[Any]] = {}
        counted: Counter[Any] = Counter()
        for name, row in store.rows.items():
            if name[0] == projection.schema:
                if hasattr(row, "events"):
                    counted[row.clinic, row.type] += row.events
                else:
                    found.setdefault(name[1], set()).add(row)
        if found != expected:
            raise Seen(f"{projection.name} is not the fold of the ledger: {_difference(found, expected)}")
        must(counted == sums, "{} counts {}, the ledger {}", projection.name, dict(counted), dict(sums))
        for place, by in shaped.items():
            says = store.rows.get((SHAPED_BY, projection.schema, *place))
            must(says == by, "{}: shaped by {}, it says by {}", place, by, says)


def _difference(found: Mapping[str, set[Any]], expected: Mapping[str, set[Any]]) -> str:
    tables = sorted({*found, *expected})
    return "; ".join(
        f"{t}: has {sorted(map(repr, found.get(t, set()) - expected.get(t, set())))}, "
        f"should have {sorted(map(repr, expected.get(t, set()) - found.get(t, set())))}"
        for t in tables
    )
