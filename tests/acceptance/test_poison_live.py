"""Nonsense on the topic while real events flow: set aside where everybody sees it; everything real is readable."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

import pytest
from kafka import KafkaProducer

from epicrisis import simulate
from epicrisis.settings import Settings
from epicrisis.slices import partition_of, slice_of
from tests.acceptance import support
from tests.acceptance.support import Role, caught_up, installation, journal_counts, roles

pytestmark = [pytest.mark.servers, pytest.mark.slow]

SECRET = b"Zebrafink"


@pytest.fixture(scope="module")
def ours(servers: dict[str, Any]) -> Iterator[Settings]:
    with installation(servers) as settings, roles(settings, ("relay",), ("work",)):
        yield settings


class Vandal:
    """Somebody with the right to write to the topic, who also sends what was sent before once more."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._producer = KafkaProducer(**settings.kafka("admin"), acks="all", allow_auto_create_topics=False)
        self._chance = Random(5)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.sent: Counter[str] = Counter()

    def __enter__(self) -> Vandal:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._producer.close()

    def _run(self) -> None:
        while not self._stop.is_set():
            self.round()
            self._stop.wait(0.1)

    def round(self) -> None:
        """Something bad to every partition, in front of and behind what is real."""
        events = support.rows(
            self._settings, "chart", "SELECT subject, value FROM journal.event ORDER BY random() LIMIT 8"
        )
        for partition in range(self._settings.partitions):
            self._send("not_framed", uuid4().bytes, SECRET, partition)
            self._send("not_framed", uuid4().bytes, None, partition)
            self._send("unknown_schema", uuid4().bytes, b"\0" + (999_999).to_bytes(4, "big") + SECRET, partition)
        for subject, value in events:
            at = partition_of(slice_of(subject), self._settings.partitions)
            self._send("wrong_key", uuid4().bytes, bytes(value), at)
            self._send("bad_envelope", subject.bytes, bytes(value)[:-7], at)
            self._send("repeated", subject.bytes, bytes(value), at)
        self._producer.flush()

    def _send(self, reason: str, key: bytes | None, value: bytes | None, partition: int) -> None:
        self._producer.send(self._settings.topic(), key=key, value=value, partition=partition)
        self.sent[reason] += 1


def test_nonsense_on_the_topic_is_set_aside_and_everything_behind_it_is_readable(
    ours: Settings, tmp_path: Path
) -> None:
    for number, message in enumerate(simulate.messages(patients=8, seed=9)):
        (tmp_path / f"{number:06d}.json").write_bytes(message.bundle)
    with Vandal(ours) as vandal:
        importer = Role(ours, "import", str(tmp_path))
        assert importer.to_the_end() == 0
        vandal.round()
    caught_up(ours)

    events = sum(journal_counts(ours).values())
    assert events > 300
    support.assert_ledger_is_the_journals(ours)
    behind = support.rows(ours, "cluster", "SELECT count(*) FROM read.cluster_chart WHERE NOT incomplete")[0][0]
    kept = "SELECT count(DISTINCT stream) FROM journal.event"
    assert behind >= support.rows(ours, "chart", kept)[0][0]

    listed = support.run(ours, "parked", "list", "--format", "ndjson")
    assert listed.returncode == 0, listed.stderr
    shown = [json.loads(line) for line in listed.stdout.splitlines()]
    repeated = vandal.sent.pop("repeated")
    assert repeated > 0
    assert Counter(row["reason"] for row in shown) == vandal.sent
    assert {row["consumer"] for row in shown} == {"(set aside)"}
    assert len({(row["partition"], row["offset"]) for row in shown}) == len(shown)
    assert SECRET.decode() not in listed.stdout

    roster = support.run(ours, "read", "clinic_patients", "--format", "ndjson")
    patients = {json.loads(line)["subject"] for line in roster.stdout.splitlines()}
    assert len(patients) == 8
    assert not any(json.loads(line)["incomplete"] for line in roster.stdout.splitlines())
