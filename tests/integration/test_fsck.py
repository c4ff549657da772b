"""Fsck: a sound installation has no findings, and whatever is changed behind its back is found, with its place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from uuid import UUID

import psycopg
import pytest
from kafka import KafkaProducer

from epicrisis.assembly import intake
from epicrisis.fsck.finding import Finding
from epicrisis.fsck.run import Report, fsck
from epicrisis.settings import Settings
from tests.kernel_support import Pipeline, bundle, condition, observation, own_namespace, patient

pytestmark = pytest.mark.servers
CHART = "cluster_chart"


@pytest.fixture(scope="module")
def cluster(servers: dict[str, Any]) -> Iterator[Settings]:
    """Three patients with some history, all of it applied."""
    with own_namespace(servers) as settings:
        with Pipeline(settings) as running:
            for name in ("one", "two", "three"):
                to = f"Patient/{name}"
                some = [observation(f"{name}-{n}", n, to=to) for n in range(12)]
                running.send(bundle(patient(name), condition(f"{name}-c", to=to), *some))
                running.send(bundle(patient(name, family="Maier"), observation(f"{name}-1", 7, to=to)))
            running.wait()
        yield settings


def run(cluster: Settings, *checks: str, **options: Any) -> Report:
    return fsck(cluster, checks or ("journals", "log", "models"), **{"sample": None, "workers": 0, **options})


def said(report: Report) -> set[tuple[str, str]]:
    return {(one.check, one.problem) for one in report.findings}


@contextmanager
def changed(cluster: Settings, database: str, change: str, undo: str, **values: Any) -> Iterator[None]:
    """Behind its back, by somebody with every right; undone afterwards."""
    with psycopg.connect(cluster.admin_dsn(cluster.database(database)), autocommit=True) as admin:
        admin.execute(change.encode(), values)
        try:
            yield
        finally:
            admin.execute(undo.encode(), values)


class Event:
    """One of the ledger's events, with all that is needed to put it back."""

    def __init__(self, cluster: Settings, which: str) -> None:
        with psycopg.connect(cluster.admin_dsn(cluster.database("cluster"))) as admin:
            row = admin.execute(
                b"SELECT seq, n, recorded, subject, slice, source, link, value FROM ledger.event " + which.encode()
            ).fetchone()
        assert row is not None
        names = ("seq", "n", "recorded", "subject", "slice", "source", "link", "value")
        self.columns: dict[str, Any] = dict(zip(names, row, strict=True))

    @property
    def place(self) -> tuple[UUID, str, int]:
        return self.columns["subject"], self.columns["source"], self.columns["seq"]


WHERE = "WHERE subject = %(subject)s AND source = %(source)s AND seq = %(seq)s AND slice = %(slice)s"
BACK = (
    "INSERT INTO ledger.event (seq, n, recorded, subject, slice, source, link, value) VALUES"
    " (%(seq)s, %(n)s, %(recorded)s, %(subject)s, %(slice)s, %(source)s, %(link)s, %(value)s)"
)
INNER = (
    "e WHERE source = 'chart' AND seq > 2 AND EXISTS"
    " (SELECT 1 FROM ledger.event f WHERE f.subject = e.subject AND f.source = e.source AND f.seq > e.seq)"
    " ORDER BY n LIMIT 1"
)
LAST = "e WHERE n > 5 AND n = (SELECT max(n) FROM ledger.event f WHERE f.subject = e.subject) ORDER BY subject LIMIT 1"


def places(report: Report, check: str) -> set[tuple[UUID | None, str, int | None]]:
    return {(one.subject, one.source, one.seq) for one in report.findings if one.check == check}


def test_a_sound_installation_has_no_findings(cluster: Settings) -> None:
    report = run(cluster, workers=2)
    assert report.findings == []
    assert report.events == report.records > 40
    assert report.subjects == report.compared + report.erased == 3
    assert run(cluster, "models", sample=2, seed="a").compared == 2


def test_an_event_taken_out_of_the_ledger(cluster: Settings) -> None:
    event = Event(cluster, INNER)
    with changed(cluster, "cluster", f"DELETE FROM ledger.event {WHERE}", BACK, **event.columns):
        report = run(cluster)
    assert event.place in places(report, "journals")
    assert places(report, "log") == {event.place}
    assert ("ledger", "a number is missing or double") in said(report)
    assert ("models", "the row differs") in said(report) or ("models", "there should be no such row") in said(report)


def test_a_ledger_whose_end_was_cut_off_and_whose_chain_was_made_to_fit(cluster: Settings) -> None:
    event = Event(cluster, LAST)
    with psycopg.connect(cluster.admin_dsn(cluster.database("cluster"))) as admin:
        before = admin.execute(
            "SELECT link FROM ledger.event WHERE subject = %(subject)s AND n = %(n)s - 1", event.columns
        ).fetchone()
    assert before is not None
    heads = "UPDATE ledger.subject SET n = {n}, link = {link} WHERE subject = %(subject)s"
    already = run(cluster, "journals").behind
    cut = f"DELETE FROM ledger.event {WHERE}"
    with (
        changed(cluster, "cluster", cut, BACK, **event.columns),
        changed(
            cluster,
            "cluster",
            heads.format(n="%(n)s - 1", link="%(before)s"),
            heads.format(n="%(n)s", link="%(link)s"),
            before=before[0],
            **event.columns,
        ),
    ):
        report = run(cluster, "journals", "log")
    assert {one.check for one in report.findings} == {"log"}
    assert places(report, "log") == {event.place}
    assert report.behind == already + 1


def test_a_value_changed_in_the_ledger_with_a_chain_that_holds(cluster: Settings) -> None:
    event = Event(cluster, LAST)
    with psycopg.connect(cluster.admin_dsn(cluster.database("cluster"))) as admin:
        before = admin.execute(
            "SELECT link FROM ledger.event WHERE subject = %(subject)s AND n = %(n)s - 1", event.columns
        ).fetchone()
    assert before is not None
    value = event.columns["value"][:-1] + bytes([event.columns["value"][-1] ^ 1])
    link = sha256(before[0] + sha256(value).digest()).digest()
    events = f"UPDATE ledger.event SET value = {{value}}, link = {{link}} {WHERE}"
    heads = "UPDATE ledger.subject SET link = {link} WHERE subject = %(subject)s"
    with (
        changed(
            cluster,
            "cluster",
            events.format(value="%(new_value)s", link="%(new_link)s"),
            events.format(value="%(value)s", link="%(link)s"),
            new_value=value,
            new_link=link,
            **event.columns,
        ),
        changed(
            cluster,
            "cluster",
            heads.format(link="%(new_link)s"),
            heads.format(link="%(link)s"),
            new_link=link,
            **event.columns,
        ),
    ):
        report = run(cluster, "journals", "log")
        recent = run(cluster, "journals", "log", since=event.columns["recorded"])
    for one in (report, recent):
        assert said(one) == {
            ("journals", "the ledger has another value"),
            ("log", "log and ledger have other values"),
        }
        assert places(one, "log") == places(one, "journals") == {event.place}


def test_a_chain_that_does_not_hold(cluster: Settings) -> None:
    event = Event(cluster, INNER)
    link = f"UPDATE ledger.event SET link = {{link}} {WHERE}"
    with changed(cluster, "cluster", link.format(link="'\\x00'"), link.format(link="%(link)s"), **event.columns):
        report = run(cluster, "log")
    (one,) = report.findings
    assert (one.check, one.problem, (one.subject, one.source, one.seq)) == (
        "ledger",
        "the chain does not hold",
        event.place,
    )


def test_a_value_changed_in_a_journal(cluster: Settings) -> None:
    event = Event(cluster, INNER)
    change = "UPDATE journal.event SET value = {} WHERE subject = %(subject)s AND seq = %(seq)s"
    with changed(cluster, "chart", change.format("value || '\\x00'"), change.format("%(value)s"), **event.columns):
        report = run(cluster, "journals")
    assert said(report) == {("journals", "the ledger has another value")}
    assert places(report, "journals") == {event.place}


def test_records_sent_again_are_no_finding_and_damaged_ones_are(cluster: Settings) -> None:
    event = Event(cluster, LAST)
    subject, value = event.columns["subject"], event.columns["value"]
    partition = event.columns["slice"] % cluster.partitions
    log = KafkaProducer(**cluster.kafka("admin"), acks="all", allow_auto_create_topics=False)
    sent = [value, value[:-1], value[:-1], value[:60]]  # the first damaged one ends in its body, the last before it
    for one in sent:
        log.send(cluster.topic(), key=subject.bytes, value=one, partition=partition)
    log.flush()
    log.close()
    read = "UPDATE projection.offset SET next_offset = next_offset {} WHERE consumer = 'ledger' AND partition = %(p)s"
    sound = run(cluster, "log").records
    with changed(cluster, "cluster", read.format(f"+ {len(sent)}"), read.format(f"- {len(sent)}"), p=partition):
        report, recent = run(cluster, "log"), run(cluster, "log", since=event.columns["recorded"])
    assert report.records == sound
    for one in (report, recent):
        assert said(one) == {("log", "no event, and not set aside: bad_envelope")}
        assert len(one.findings) == len({finding.place for finding in one.findings}) == 3


def test_rows_and_counters_that_nobody_folded(cluster: Settings) -> None:
    row = f"UPDATE {CHART}_v{version()}.{CHART} SET status = {{}} WHERE resource_type = 'Patient'"
    with changed(cluster, "cluster", row.format("status || 'x'"), row.format("rtrim(status, 'x')")):
        assert ("models", "the row differs") in said(run(cluster, "models"))
        assert run(cluster, "models", sample=0).findings == []
    by = f"UPDATE {CHART}_v{version()}.{CHART} SET shaped_by = shaped_by {{}} 1 WHERE resource_type = 'Patient'"
    with changed(cluster, "cluster", by.format("+"), by.format("-")):
        assert said(run(cluster, "models")) == {("models", "it says that another event shaped it")}
    count = "UPDATE cluster_activity_v1.cluster_activity SET events = events {} 1"
    with changed(cluster, "cluster", count.format("+"), count.format("-")):
        assert said(run(cluster, "models")) == {("models", "the counter shows another sum")}


def version() -> int:
    from epicrisis.found import projections

    return projections()[CHART].version


def test_what_has_not_come_through_yet_is_behind_and_not_wrong(cluster: Settings) -> None:
    began, already = datetime.now(UTC), run(cluster, "journals").behind
    raw = bundle(patient("late"), observation("late-o", to="Patient/late"))
    intake(cluster).receive(raw, operator="charite", clinic="charite/gyn", door="test")
    report = run(cluster, "journals", "log")
    assert report.findings == []
    assert report.behind == already + 2
    assert run(cluster, "journals", "log", since=began).events == 0


def test_a_finding_names_its_place_and_no_content() -> None:
    one = Finding(check="log", problem="x", subject=UUID(int=1), source="chart", seq=3)
    assert one.row() == {
        "check": "log",
        "problem": "x",
        "place": "",
        "subject": UUID(int=1),
        "source": "chart",
        "seq": 3,
    }
