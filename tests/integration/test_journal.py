"""The journal, one suite on both implementations; what only PostgreSQL can show comes last."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from epicrisis.assembly import codec
from epicrisis.codec.writing import long
from epicrisis.database import Database
from epicrisis.errors import Conflict
from epicrisis.journal import Append, Claim, Journal, MemoryJournal, Naming, NewEvent, PostgresJournal, Unnumbered
from epicrisis.journal.postgres import FEW
from epicrisis.slices import slice_of
from tests.kernel_support import START, append_of, in_threads, new_events, own_namespace, subject_in

pytestmark = pytest.mark.servers
WRITERS = 8


@pytest.fixture(scope="module")
def dsn(servers: dict[str, Any]) -> Iterator[str]:
    with own_namespace(servers, kafka=False) as settings:
        yield settings.dsn_for("chart", "chart")


@pytest.fixture
def postgres(dsn: str) -> Iterator[PostgresJournal]:
    database = Database(dsn, size=WRITERS + 1)
    yield PostgresJournal("chart", database)
    database.close()


@pytest.fixture(params=["memory", "postgres"])
def journal(request: pytest.FixtureRequest) -> Journal:
    if request.param == "memory":
        return MemoryJournal("chart")
    found: PostgresJournal = request.getfixturevalue("postgres")
    return found


def head(journal: Journal, subject: UUID) -> int:
    return journal.load({subject: []})[subject].head


def values(journal: Journal, subject: UUID) -> list[bytes]:
    return journal.after(subject, 1, 1_000_000)


def seqs(journal: Journal, subject: UUID) -> list[int]:
    """The numbers that the values themselves say."""
    return [codec().open(value).meta.seq for value in values(journal, subject)]


def unnumbered(subject: UUID, count: int) -> list[Unnumbered]:
    """Cut where ``seq`` is: behind the subject."""
    events = [e for _ in range(count) for e in new_events(subject, 1, 1)]
    cuts = [e.value.partition(subject.bytes + long(1)) for e in events]
    return [
        Unnumbered(e.id, subject, e.stream, e.type, START, before + subject.bytes, after)
        for e, (before, _, after) in zip(events, cuts, strict=True)
    ]


def test_events_are_numbered_without_gaps(journal: Journal) -> None:
    subject = uuid4()
    first, second = append_of(subject, 0, 3), append_of(subject, 3, 2)
    assert journal.append([first]).seqs == {e.id: n for n, e in enumerate(first.events, 1)}
    assert journal.append([second]).seqs == {e.id: n for n, e in enumerate(second.events, 4)}
    assert head(journal, subject) == 5
    assert values(journal, subject) == [e.value for e in (*first.events, *second.events)]


@pytest.mark.parametrize("expected", [0, 1, 3])
def test_an_append_that_expects_another_number_conflicts_and_writes_nothing(journal: Journal, expected: int) -> None:
    subject = uuid4()
    journal.append([append_of(subject, 0, 2)])
    with pytest.raises(Conflict):
        journal.append([append_of(subject, expected, 1)])
    assert head(journal, subject) == 2
    assert len(values(journal, subject)) == 2


def test_the_same_events_again_get_the_first_result(journal: Journal) -> None:
    subject = uuid4()
    append = append_of(subject, 0, 2)
    first = journal.append([append])
    journal.append([append_of(subject, 2, 1)])
    # Decided again later, they would be numbered on from 3: what counts is what they were numbered first.
    again = Append(subject, 3, [e._replace(seq=e.seq + 3, value=e.value + b"other") for e in append.events])
    second = journal.append([again])
    assert (first.repeated, second.repeated) == (False, True)
    assert second.seqs == first.seqs
    assert head(journal, subject) == 3
    assert not any(value.endswith(b"other") for value in values(journal, subject))


def test_events_of_which_some_are_known_conflict(journal: Journal) -> None:
    subject = uuid4()
    known = new_events(subject, 1, 1)
    journal.append([Append(subject, 0, known)])
    with pytest.raises(Conflict):
        journal.append([Append(subject, 1, [*known, *new_events(subject, 2, 1)])])
    assert head(journal, subject) == 1


def test_what_expects_nothing_is_numbered_behind_whatever_is_there(journal: Journal) -> None:
    subject, other = uuid4(), uuid4()
    journal.append([append_of(subject, 0, 126)])
    # the number is written as Avro does: of one byte up to 63, of two up to 8191
    one, two, three, four = unnumbered(subject, 4)
    journal.append_next([one, two, three, *unnumbered(other, 1), four])
    numbered = [e.before + long(n) + e.after for n, e in enumerate((one, two, three, four), 127)]
    assert values(journal, subject)[126:] == numbered
    assert seqs(journal, other) == [1]
    journal.append([append_of(subject, 130, 1)])
    assert head(journal, subject) == 131


def test_writers_who_expect_nothing_are_in_nobodys_way(journal: Journal) -> None:
    subjects = [uuid4() for _ in range(3)]

    def work(number: int) -> None:
        for _ in range(20):
            journal.append_next([one for s in subjects[number % 2 :] for one in unnumbered(s, 1)])

    in_threads(WRITERS, work)
    assert [head(journal, s) for s in subjects] == [80, 160, 160]
    assert seqs(journal, subjects[2]) == list(range(1, 161))


def test_several_subjects_are_appended_all_or_none(journal: Journal) -> None:
    known, one, other = uuid4(), uuid4(), uuid4()
    journal.append([append_of(known, 0, 1)])
    with pytest.raises(Conflict):
        journal.append([append_of(one, 0, 2), append_of(known, 0, 1), append_of(other, 0, 1)], [Claim(b"x" * 16, one)])
    assert [head(journal, s) for s in (known, one, other)] == [1, 0, 0]
    assert values(journal, one) == []
    assert journal.who([b"x" * 16], []) == ({}, set())
    journal.append([append_of(one, 0, 2), append_of(known, 1, 1), append_of(other, 0, 1)])
    assert [head(journal, s) for s in (known, one, other)] == [2, 2, 1]


def test_an_identifier_belongs_to_one_resource(journal: Journal) -> None:
    mine, yours, digest = uuid4(), uuid4(), uuid4().bytes
    journal.append([append_of(mine, 0, 1)], [Claim(digest, mine)])
    journal.append([append_of(mine, 1, 1)], [Claim(digest, mine)])
    with pytest.raises(Conflict):
        journal.append([append_of(yours, 0, 1)], [Claim(uuid4().bytes, yours), Claim(digest, yours)], [(yours, "o")])
    assert journal.who([digest, uuid4().bytes], [])[0] == {digest: mine}
    assert head(journal, yours) == 0
    assert journal.who([], [yours])[1] == set()


@pytest.mark.parametrize("more", [0, FEW])
def test_an_identifier_that_several_resources_share_finds_each_and_their_last_version_with_it(
    journal: Journal, more: int
) -> None:
    mine, yours, digest, other = uuid4(), uuid4(), uuid4().bytes, uuid4().bytes
    later, latest = START + timedelta(seconds=1), START + timedelta(seconds=2)

    def append(subject: UUID, expected: int, *namings: Naming) -> None:
        journal.append([replace(append_of(subject, expected, 1 + more), namings=namings)])

    append(mine, 0, Naming(digest, mine, START), Naming(other, mine, START))
    append(yours, 0, Naming(digest, yours, START))
    append(mine, 1 + more, Naming(digest, mine, later))
    with pytest.raises(Conflict):
        append(yours, 0, Naming(digest, yours, latest))
    assert sorted(journal.named([digest, uuid4().bytes])) == sorted(
        [Naming(digest, mine, later), Naming(digest, yours, START)]
    )
    assert journal.named([other]) == [Naming(other, mine, START)]


def test_small_appends_of_several_at_once_are_each_found_by_their_identifiers(journal: Journal) -> None:
    digest = uuid4().bytes
    subjects = [uuid4() for _ in range(WRITERS)]

    def work(number: int) -> None:
        subject = subjects[number]
        for at in range(5):
            journal.append([replace(append_of(subject, at, 1), namings=[Naming(digest, subject, START)])])

    in_threads(WRITERS, work)
    assert {naming.resource_id for naming in journal.named([digest])} == set(subjects)


def test_members_are_admitted_with_the_events_or_without(journal: Journal) -> None:
    subject, other = uuid4(), uuid4()
    journal.append([append_of(subject, 0, 1)], members=[(subject, "charite")])
    journal.append([], members=[(subject, "amc"), (subject, "charite")])
    assert journal.who([], [subject, other])[1] == {(subject, "charite"), (subject, "amc")}


def test_only_the_streams_asked_for_are_loaded_in_order(journal: Journal) -> None:
    subject, nobody = uuid4(), uuid4()
    a, b = f"Condition/{uuid4()}", f"Condition/{uuid4()}"
    events = [*new_events(subject, 1, 2, a), *new_events(subject, 3, 1, b), *new_events(subject, 4, 1, a)]
    journal.append([Append(subject, 0, events)])
    found = journal.load({subject: [a, "Condition/unknown"], nobody: [a]})
    assert found[subject].head == 4
    assert [e.seq for e in found[subject].streams[a]] == [1, 2, 4]
    assert [e.value for e in found[subject].streams[a]] == [events[n].value for n in (0, 1, 3)]
    assert b not in found[subject].streams
    assert not found[subject].streams.get("Condition/unknown")
    assert (found[nobody].head, list(found[nobody].streams.get(a, ()))) == (0, [])


def test_a_stream_is_known_with_its_subject(journal: Journal) -> None:
    subject, stream = uuid4(), f"Condition/{uuid4()}"
    journal.append([append_of(subject, 0, 2, stream)])
    assert journal.known([stream, "Condition/unknown"]) == {stream: subject}


@pytest.mark.parametrize("count", [1, FEW + 1])
def test_a_row_says_what_its_envelope_says(postgres: PostgresJournal, dsn: str, count: int) -> None:
    """However long the type's name is before it, and the stream's own."""
    subject, stream = uuid4(), f"SubstanceReferenceInformation/{uuid4()}"
    events = new_events(subject, 1, count, stream, "inpatient_oncology.StayEnteredInError")
    postgres.append([Append(subject, 0, events)])
    postgres.append_next(unnumbered(subject, 100))
    with psycopg.connect(dsn) as connection:
        query = "SELECT id, seq, stream, type, recorded, value FROM journal.event WHERE subject = %s ORDER BY seq"
        rows = [NewEvent(*row) for row in connection.execute(query, (subject,))]
    assert rows[:count] == events
    for row in rows:
        meta = codec().open(row.value).meta
        assert row[:-1] == (meta.id, meta.seq, meta.stream, meta.type, meta.recorded)
    assert len(rows) == count + 100


def test_missed_events_are_fetched_by_number(journal: Journal) -> None:
    subject = uuid4()
    append = append_of(subject, 0, 5)
    journal.append([append])
    assert journal.after(subject, 2, 4) == [e.value for e in append.events[1:4]]


def test_writers_of_one_subject_leave_no_gap_and_no_double(journal: Journal) -> None:
    subject, each = uuid4(), 10
    conflicts = []

    def write(_: int) -> None:
        for _ in range(each):
            while True:
                try:
                    journal.append([append_of(subject, head(journal, subject), 2)])
                    break
                except Conflict:
                    conflicts.append(1)

    in_threads(WRITERS, write)
    count = WRITERS * each * 2
    assert head(journal, subject) == count
    assert seqs(journal, subject) == list(range(1, count + 1))


def test_a_message_sent_by_many_at_once_is_appended_once(journal: Journal) -> None:
    append = append_of(uuid4(), 0, 3)
    results: list[Any] = []
    in_threads(WRITERS, lambda _: results.append(journal.append([append])))
    assert sorted(r.repeated for r in results) == [False] + [True] * (WRITERS - 1)
    assert {tuple(sorted(r.seqs.values())) for r in results} == {(1, 2, 3)}
    assert head(journal, append.subject) == 3


def test_writers_of_crossing_subjects_never_block_each_other_for_good(journal: Journal) -> None:
    subjects = [uuid4() for _ in range(4)]

    def write(number: int) -> None:
        order = subjects if number % 2 else subjects[::-1]
        for _ in range(10):
            while True:
                heads = journal.load({s: [] for s in order})
                try:
                    journal.append([append_of(s, heads[s].head, 1) for s in order])
                    break
                except Conflict:
                    pass

    in_threads(WRITERS, write)
    assert {head(journal, s) for s in subjects} == {WRITERS * 10}


# What only PostgreSQL can show


def test_a_cursor_in_a_slice_never_skips_while_others_write(postgres: PostgresJournal, dsn: str) -> None:
    """The order of pos in a slice is the order of commits. Without the slice's lock this fails within a second.

    Each writer is another process's: within one, small appends go together.
    """
    at, each = 77, 40
    subjects = [[subject_in(at) for _ in range(2)] for _ in range(WRITERS)]
    written = threading.Event()
    seen: list[tuple[int, UUID]] = []

    def follow() -> None:
        cursor = 0
        with psycopg.connect(dsn, autocommit=True) as connection:
            while True:
                last = written.is_set()
                rows = connection.execute(
                    "SELECT pos, id FROM journal.event WHERE slice = %s AND pos > %s ORDER BY pos", (at, cursor)
                ).fetchall()
                if rows:
                    seen.extend(rows)
                    cursor = rows[-1][0]
                elif last:
                    return

    def write(number: int) -> None:
        with closing(Database(dsn, size=1)) as database:
            journal = PostgresJournal("chart", database)
            for n in range(each):
                journal.append([append_of(subjects[number][n % 2], n // 2, 1), append_of(uuid4(), 0, 1)])

    follower = threading.Thread(target=follow)
    follower.start()
    try:
        in_threads(WRITERS, write)
    finally:
        written.set()
        follower.join()
    with psycopg.connect(dsn) as connection:
        all_ = connection.execute("SELECT pos, id FROM journal.event WHERE slice = %s ORDER BY pos", (at,)).fetchall()
    assert len(all_) >= WRITERS * each
    assert seen == all_
    assert [head(postgres, s) for some in subjects for s in some] == [each // 2] * (WRITERS * 2)


def test_the_tail_of_a_slice_is_never_behind_its_last_event(postgres: PostgresJournal, dsn: str) -> None:
    """Behind it, a relay would not see the news."""
    subjects = [subject_in(at) for at in (500, 501)]
    postgres.append([append_of(s, 0, 2) for s in subjects])
    postgres.append([append_of(subjects[0], 2, 1)])
    with psycopg.connect(dsn) as connection:
        behind = connection.execute(
            "SELECT slice FROM journal.tail"
            " WHERE pos < (SELECT max(pos) FROM journal.event AS e WHERE e.slice = tail.slice)"
        ).fetchall()
    assert behind == []


def test_whoever_wants_to_know_is_told_after_the_commit(dsn: str) -> None:
    database = Database(dsn, size=2)
    told: list[tuple[list[int], int]] = []
    subject = uuid4()
    journal = PostgresJournal(
        "chart", database, lambda slices: told.append((list(slices), head(PostgresJournal("x", database), subject)))
    )
    journal.append([append_of(subject, 0, 2)])
    assert told == [([slice_of(subject)], 2)]
    with pytest.raises(Conflict):
        journal.append([append_of(subject, 0, 1)])
    assert len(told) == 1
    database.close()
