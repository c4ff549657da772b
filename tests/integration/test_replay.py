"""Replay: any subject's rows as of any moment are what the read models held at that moment."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.rows import dict_row

from epicrisis import assembly, replay
from epicrisis.database import Database
from epicrisis.errors import Refused, Unresolved
from epicrisis.found import projections
from epicrisis.ledger import history
from epicrisis.projection import Projection
from epicrisis.settings import Settings
from epicrisis.simulate import messages
from tests.kernel_support import Pipeline, bundle, condition, observation, own_namespace, patient

pytestmark = pytest.mark.servers
PATIENTS, STEPS, SEED = 4, 6, 11
Rows = Mapping[tuple[str, str, UUID], list[tuple[Any, ...]]]


@pytest.fixture(scope="module")
def cluster(servers: dict[str, Any]) -> Iterator[Settings]:
    with own_namespace(servers) as settings:
        yield settings


@pytest.fixture(scope="module")
def told(cluster: Settings) -> list[tuple[datetime, Rows]]:
    """A small cluster's life through the real pipeline; after each step the moment, and every row by subject."""
    some = [(m.bundle, m.clinic) for m in messages(PATIENTS, SEED)]
    mended = [
        (
            bundle(patient("m1"), condition("mc", to="Patient/m1"), observation("mo", 1.0, to="Patient/m1")),
            "charite/gyn",
        ),
        (bundle(patient("m1", family="Maier"), observation("mo", 1.1, to="Patient/m1")), "charite/gyn"),
        (bundle(condition("mc", "confirmed", to="Patient/m1")), "charite/gyn"),
        (bundle(delete=("Condition/mc", "Observation/mo")), "charite/gyn"),
        (bundle(patient("m1", family="Maier", deceasedBoolean=True)), "charite/gyn"),
    ]
    every = max(1, len(some) // len(mended))
    for n, one in enumerate(mended):
        some.insert((n + 1) * every - 1, one)
    saved = []
    with Pipeline(cluster) as running:
        step = -(-len(some) // STEPS)
        for at in range(0, len(some), step):
            for raw, clinic in some[at : at + step]:
                try:
                    running.send(raw, clinic=clinic)
                except Unresolved:
                    raise
                except Refused:
                    continue
            running.wait()
            saved.append((datetime.now(UTC), read_all(cluster)))
    return saved


def keyed(projection: Projection) -> list[Any]:
    return [table for table in projection.tables.values() if not table.sums]


def read_all(cluster: Settings) -> Rows:
    """Every row of every keyed table, by projection, table and subject."""
    found: dict[tuple[str, str, UUID], list[tuple[Any, ...]]] = defaultdict(list)
    with psycopg.connect(cluster.dsn_for("cluster", "auditor"), row_factory=dict_row) as connection:
        for projection in projections().values():
            for table in keyed(projection):
                for row in connection.execute(f"SELECT * FROM {projection.schema}.{table.name}"):
                    found[projection.name, table.name, row["subject"]].append(plain(row[c] for c in table.columns))
    return {place: sorted(rows, key=repr) for place, rows in found.items()}


def plain(values: Any) -> tuple[Any, ...]:
    return tuple(tuple(v) if isinstance(v, list) else v for v in values)


@pytest.fixture(scope="module")
def auditor(cluster: Settings) -> Iterator[Auditor]:
    with Auditor(cluster) as made:
        yield made


class Auditor:
    """Folds histories from the ledger, with the auditor's rights; each is read once."""

    def __init__(self, cluster: Settings) -> None:
        self._database = Database(cluster.dsn_for("cluster", "auditor"), size=1)
        self._keys = assembly.key_store(cluster, "auditor")
        self._told: dict[UUID, list[replay.Fact]] = {}

    def __enter__(self) -> Auditor:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()
        self._keys.close()

    def folded(self, subject: UUID, known_at: datetime) -> Rows:
        """A subject's rows of every projection, as of a moment."""
        if subject not in self._told:
            with self._database.transaction() as cur:
                entries = history(cur, subject)
            self._told[subject] = list(replay.facts(entries, assembly.codec(), self._keys))
        when = replay.When(known_at=known_at)
        facts = [fact for fact in self._told[subject] if when.covers(fact.meta)]
        found = {}
        for projection in projections().values():
            tables = replay.through(projection, facts)
            for table in keyed(projection):
                rows = [plain(getattr(row, c) for c in table.columns) for row in tables[table.name]]
                if rows:
                    found[projection.name, table.name, subject] = sorted(rows, key=repr)
        return found


def test_rows_as_of_a_moment_are_those_that_the_read_models_held_then(
    auditor: Auditor, told: list[tuple[datetime, Rows]]
) -> None:
    assert len(told) >= STEPS - 1
    subjects = sorted({place[2] for _, rows in told for place in rows})
    patients = {place[2] for place in told[-1][1] if place[1] == "clinic_patients_person"}
    chosen = {*patients, *random.Random(SEED).sample(subjects, 5)}
    assert len(patients) >= PATIENTS
    for as_of, rows in told:
        for subject in chosen:
            expected = {place: some for place, some in rows.items() if place[2] == subject}
            assert auditor.folded(subject, as_of) == expected, f"subject {subject} as of {as_of}"


def test_two_hundred_random_patients_and_moments(auditor: Auditor, told: list[tuple[datetime, Rows]]) -> None:
    chance = random.Random(SEED)
    subjects = sorted({place[2] for _, rows in told for place in rows})
    for subject, (as_of, rows) in ((chance.choice(subjects), chance.choice(told)) for _ in range(200)):
        assert auditor.folded(subject, as_of) == {p: some for p, some in rows.items() if p[2] == subject}


def test_the_steps_differ_and_hold_corrections_and_retractions(told: list[tuple[datetime, Rows]]) -> None:
    counts = [sum(map(len, rows.values())) for _, rows in told]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]
    chart = [row for place, some in told[-1][1].items() if place[0] == "cluster_chart" for row in some]
    columns = next(iter(projections()["cluster_chart"].tables.values())).columns
    assert any(row[columns.index("retracted")] for row in chart)
    assert any(row[columns.index("version")] > 1 for row in chart)


def test_a_timeline_shows_what_was_known_and_when(cluster: Settings, told: list[tuple[datetime, Rows]]) -> None:
    subject = next(place[2] for place in told[-1][1] if place[1] == "clinic_patients_person")
    database = Database(cluster.dsn_for("cluster", "auditor"), size=1)
    keys = assembly.key_store(cluster, "auditor")
    with database.transaction() as cur:
        entries = history(cur, subject)
    lengths = []
    for as_of, _ in told:
        lines = list(replay.timeline(replay.facts(entries, assembly.codec(), keys, replay.When(known_at=as_of))))
        assert [line["n"] for line in lines] == list(range(1, len(lines) + 1))
        assert all(line["recorded"] <= as_of for line in lines)
        lengths.append(len(lines))
    assert lengths == sorted(lengths)
    assert lengths[-1] == len(entries)
    database.close()
    keys.close()


def test_an_erased_subject_still_has_its_timeline(cluster: Settings, told: list[tuple[datetime, Rows]]) -> None:
    from epicrisis.codec import MemoryKeyStore

    subject = next(place[2] for place in told[-1][1] if place[1] == "clinic_patients_person")
    database = Database(cluster.dsn_for("cluster", "auditor"), size=1)
    with database.transaction() as cur:
        entries = history(cur, subject)
    lines = list(replay.timeline(replay.facts(entries, assembly.codec(), MemoryKeyStore())))
    assert len(lines) == len(entries)
    assert {line["what"] for line in lines} == {"(erased)"}
    database.close()
