"""The proof: how fast chains and trees are made, what a checkpoint costs those who work, how long an auditor waits.

Chain and tree: links, entries, leaf hashes, tiles and roots, in memory, of sealed records. Entries: a worker's batches
through ledger and all read models, on PostgreSQL, and what of their processor time (worker and its database process)
the entries took: their statement, and the ledger's work beyond that of one without them. A checkpoint: the processor
time of one over all of these. Export and verify: a patient of 1,000 events, from the database to the verdict. Replay:
of 1,000 events, from the database to the last line or row.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from bench.events import Event, copy, events, first
from bench.row import Row
from bench.stage import stage
from epicrisis.assembly import codec, followed, key_store, seldom_collect
from epicrisis.audit.assembled import checkpoints, export_of, published_policy
from epicrisis.audit.chain import entry_of, first_link, next_link
from epicrisis.audit.tiles import Tree, grown
from epicrisis.audit.verifier.check import check
from epicrisis.audit.verifier.merkle import leaf_hash
from epicrisis.audit.verifier.note import Policy
from epicrisis.codec import KeyStore, MemoryKeyStore
from epicrisis.database import Database
from epicrisis.event import replace
from epicrisis.found import projection
from epicrisis.ledger import LedgerFollower, history
from epicrisis.projecting.batch import Held, moved, run_batch
from epicrisis.projecting.decoding import Decoder
from epicrisis.projecting.delivery import Delivered, Failure
from epicrisis.projecting.postgres import PostgresStore, PostgresTransaction
from epicrisis.projecting.store import Archived, Transaction
from epicrisis.projection import Projection
from epicrisis.replay import Fact, facts, through, timeline
from epicrisis.settings import Settings
from epicrisis.slices import partition_of, slice_of
from epicrisis.worker import BATCH

CHAINED, LIVE, HISTORY, REPLAYS = 100_000, 40_000, 1_000, 300
AT_MOST = 400


def run(short: bool = False) -> Iterator[Row]:
    """Rows: chain and tree; the live path's cost; a checkpoint; export and verify."""
    yield from chain_and_tree(2_000 if short else CHAINED)
    with stage(kafka=False) as settings:
        keys = key_store(settings, "intake")
        yield from live(settings, keys, *((800, 200) if short else (LIVE, BATCH)))
        yield from export_and_verify(settings, keys, 50 if short else HISTORY)
        yield from replay(settings, keys, 50 if short else HISTORY, 3 if short else REPLAYS)
        keys.close()


def chain_and_tree(number: int) -> Iterator[Row]:
    values = [(event.meta.subject, value) for event, value in sealed(list(events(number)), MemoryKeyStore())]
    tiles: dict[tuple[int, int], bytes] = {}
    heads: dict[Any, tuple[int, bytes]] = {}
    began = time.process_time()
    for at in range(0, number, BATCH):
        leaves = []
        for subject, value in values[at : at + BATCH]:
            n, link = heads.get(subject) or (0, first_link(subject))
            heads[subject] = n, link = n + 1, next_link(link, value)
            leaves.append(leaf_hash(entry_of(subject, n, link)))
        for place, more in grown(lambda level, n: tiles.get((level, n), b""), at, leaves).items():
            tiles[place] = tiles.get(place, b"") + more
        Tree(lambda level, n: tiles[level, n]).root(at + len(leaves))
    took = time.process_time() - began
    yield {
        "row": "chain and tree, one core",
        "value": number / took,
        "unit": "events/s",
        "goal": 100_000,
        "note": f"{number:,} records of {sum(len(value) for _, value in values) // number} bytes",
    }


class WithoutEntries(LedgerFollower):
    """The ledger as it was before there were trees."""

    def apply(self, at: Transaction, delivered: Sequence[Delivered], shard: int) -> list[Failure]:
        chains = at.chains({d.meta.subject for d in delivered})
        rows: list[Archived] = []
        for subject, some in groupby(delivered, key=lambda d: d.meta.subject):
            n, link = chains.get(subject) or (0, first_link(subject))
            slice_ = slice_of(subject)
            for item in some:
                meta = item.meta
                n, link = n + 1, next_link(link, item.value)
                rows.append(Archived(0, meta.recorded, subject, meta.seq, n, slice_, meta.source, link, item.value))
            chains[subject] = n, link
        at.archive(rows, chains)
        return []


class Nowhere:
    """A transaction that keeps nothing: what is left is the ledger's own work."""

    def chains(self, _: Any) -> dict[UUID, tuple[int, bytes]]:
        return {}

    def grow(self, entries: Mapping[int, bytes]) -> dict[int, int]:
        return dict.fromkeys(entries, 0)

    def archive(self, *_: Any) -> None:
        pass


class Growing(PostgresTransaction):
    """Says what its entries cost."""

    spent = 0.0

    def grow(self, entries: Mapping[int, bytes]) -> dict[int, int]:
        began = _processor(self.cur.connection.info.backend_pid)
        first = super().grow(entries)
        Growing.spent += _processor(self.cur.connection.info.backend_pid) - began
        return first


def live(settings: Settings, keys: KeyStore, number: int, size: int) -> Iterator[Row]:
    batches = list(_batches(sealed(list(events(number)), keys), settings.partitions, size))
    database = Database(settings.dsn_for("cluster", "worker"), size=1, name="cluster")
    with database.transaction() as cur:
        ours = list(followed(cur))
        held = Held.take(PostgresTransaction(cur), [c.name for c in ours], range(settings.partitions))
        worker_pid = cur.connection.info.backend_pid
    decoder = Decoder(codec(), key_store(settings, "worker"), ours)
    made = checkpoints(settings)
    made.publish()  # the first one makes the empty map
    whole, bookkeeping, ledgers = 0.0, 0.0, (LedgerFollower(), WithoutEntries())
    for batch in batches:
        began = _processor(worker_pid)
        items = [decoder.envelope(p, offset, None, value) for p, offset, value in batch]
        decoder.bodies(items)
        upto = {p: offset + 1 for p, offset, _ in batch}
        with database.transaction() as cur:
            run_batch(Growing(cur), ours, items, held, upto, careful=False)
        moved(held, upto)
        whole += _processor(worker_pid) - began
        took = [min(_alone(ledger, items) for _ in range(3)) for ledger in ledgers]
        bookkeeping += took[0] - took[1]
    with made.store.database.transaction() as cur:  # type: ignore[attr-defined]
        checkpoint_pid = cur.connection.info.backend_pid
    began = _processor(checkpoint_pid)
    published = made.publish()
    beside = _processor(checkpoint_pid) - began
    assert published.events == number
    extra = Growing.spent + bookkeeping
    yield {
        "row": "what entries cost the worker",
        "value": 100 * extra / (whole - extra),
        "unit": "%",
        "goal": -3,
        "note": f"{extra / number * 1e6:.1f} of {whole / number * 1e6:.0f} µs of processor an event, {number:,} events "
        "through the ledger and all read models",
    }
    yield {
        "row": "a checkpoint a minute",
        "value": 100 * beside / 60,
        "unit": "% of a core",
        "goal": -3,
        "note": f"one over {number:,} events took role and database {beside:.2f} s of processor",
    }
    database.close()
    made.store.close()


def _alone(ledger: LedgerFollower, items: Sequence[Delivered]) -> float:
    began = time.process_time()
    ledger.apply(Nowhere(), items, 0)  # type: ignore[arg-type]
    return time.process_time() - began


def export_and_verify(settings: Settings, keys: KeyStore, number: int) -> Iterator[Row]:
    event = first(4)[0]
    source = copy(event, 7_777)
    history = [replace(source.meta, id=copy(event, 10_000 + n).meta.id, seq=n) for n in range(1, number + 1)]
    values = sealed([Event(meta, source.body) for meta in history], keys)
    subject = source.meta.subject
    partition = partition_of(slice_of(subject), settings.partitions)
    database = Database(settings.dsn_for("cluster", "worker"), size=1, name="cluster")
    with PostgresStore(database).transaction() as at:
        items = [Delivered(partition, n, e.meta, value) for n, (e, value) in enumerate(values)]
        LedgerFollower().apply(at, items, 0)
    database.close()
    made = checkpoints(settings)
    made.publish()
    made.store.close()
    policy = Policy.parse(published_policy(settings))
    took = []
    for _ in range(3):
        began = time.monotonic()
        raw, _ = export_of(settings, subject)
        exported = time.monotonic()
        assert len(check(raw, policy).events) == number
        took.append((time.monotonic() - began, exported - began))
    whole, export = min(took)
    yield {
        "row": f"export and verify, {number:,} events",
        "value": whole,
        "unit": "s",
        "goal": -2,
        "note": f"export {export:.2f} s, verify {whole - export:.2f} s, a file of {len(raw) / 1e6:.1f} MB; best of 3",
    }


def replay(settings: Settings, keys: KeyStore, number: int, times: int) -> Iterator[Row]:
    """From the query to the last row, on a connection that is open: as a process that answers auditors has it."""
    subject = uuid4()
    partition, seqs, told = partition_of(slice_of(subject), settings.partitions), Counter[str](), list[Event]()
    for event in first():
        if event.meta.source != "directory" and len(told) < number:
            seqs[event.meta.source] += 1
            told.append(Event(replace(event.meta, subject=subject, seq=seqs[event.meta.source]), event.body))
    worker = Database(settings.dsn_for("cluster", "worker"), size=1, name="cluster")
    with PostgresStore(worker).transaction() as at:
        items = [Delivered(partition, n, event.meta, value) for n, (event, value) in enumerate(sealed(told, keys))]
        LedgerFollower().apply(at, items, 0)
    worker.close()
    auditor, opener = Database(settings.dsn_for("cluster", "auditor"), size=1), key_store(settings, "auditor")
    chart, patients = projection("cluster_chart"), projection("clinic_patients")

    def known(of: Projection | None = None) -> Iterator[Fact]:
        with auditor.transaction() as cur:
            entries = history(cur, subject)
        return facts(entries, codec(), opener, of=of, resources=False)

    seldom_collect()  # as roles do
    ways: dict[str, Callable[[], object]] = {
        "as a timeline": lambda: list(timeline(known())),
        "through clinic_patients": lambda: through(patients, known(patients)),
        "through cluster_chart": lambda: through(chart, known(chart)),
    }
    for name, way in ways.items():
        took = []
        for _ in range(times):
            began = time.perf_counter()
            way()
            took.append(1e3 * (time.perf_counter() - began))
        took.sort()
        yield {
            "row": f"replay of {number:,} events {name}, p99",
            "value": took[int(len(took) * 0.99)],
            "unit": "ms",
            "goal": -30,
            "note": f"median {took[len(took) // 2]:.1f} ms of {times}",
        }
    auditor.close()
    opener.close()


def sealed(some: Sequence[Event], keys: KeyStore) -> list[tuple[Event, bytes]]:
    """Events with their record values."""
    found = keys.for_subjects({event.meta.subject for event in some})
    return [(event, codec().encode(event.meta, event.body, found[event.meta.subject])) for event in some]


def _batches(some: Sequence[tuple[Event, bytes]], partitions: int, size: int) -> Iterator[list[tuple[int, int, bytes]]]:
    """As a worker reads them: partition by partition, offsets counted on."""
    offsets: defaultdict[int, int] = defaultdict(int)
    for at in range(0, len(some), size):
        placed = [(partition_of(slice_of(e.meta.subject), partitions), value) for e, value in some[at : at + size]]
        batch = []
        for partition, value in sorted(placed, key=lambda one: one[0]):
            batch.append((partition, offsets[partition], value))
            offsets[partition] += 1
        yield batch


def _processor(backend: int) -> float:
    """Seconds of processor that this process and a database process (where it is on this machine) have had."""
    try:
        return time.process_time() + int(Path(f"/proc/{backend}/schedstat").read_text().split()[0]) / 1e9
    except OSError:
        return time.process_time()
