"""Brokers that die while events are published."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from epicrisis.settings import Settings
from tests.acceptance.support import ledger_total
from tests.faults.processes.history import Verdict
from tests.faults.processes.sending import LANES, TRACKS
from tests.faults.processes.stage import Run, Stage


def leaders_killed(stage: Stage, times: int) -> tuple[Verdict, Counter[str]]:
    """kill -9 of the broker that leads most partitions, again and again; publishing goes on without it each time."""
    with stage.run("leaders") as run:
        for number in range(times):
            _pace(run, 20.0 * (times + 1 - number))
            _leader_killed(stage, run)
            stage.servers.brokers.start()
            run.crew.until(lambda: in_sync(run.near), "every replica is back")
        return run.check(), Counter({"leader kill -9": times})


def two_of_three_down(stage: Stage) -> tuple[Verdict, Counter[str]]:
    """kill -9 of the leader: publishing goes on; of one more: senders get their answers, and publishing waits.

    When both return, everything is published.
    """
    with stage.run("two-down") as run:
        _pace(run, 40.0)
        run.crew.until(lambda: ledger_total(run.near) > 0 and in_sync(run.near), "it begins")
        down = [_leader_killed(stage, run)]
        down.append(random.Random(stage.seed).choice([n for n in stage.servers.brokers.nodes if n not in down]))
        stage.servers.brokers.kill(down[1])
        _more_answers(run)
        still = ledger_total(run.near)
        _more_answers(run)
        assert ledger_total(run.near) == still, "something was published that two of three brokers cannot have"
        assert not any(map(stage.servers.brokers.alive, down))
        run.crew.pace = 0.5
        stage.servers.brokers.start()
        return run.check(), Counter({"leader kill -9": 1, "two of three brokers kill -9": 1})


def _leader_killed(stage: Stage, run: Run) -> int:
    """Which node it was; the log goes on without it."""
    node = _leader(run.near)
    stage.servers.brokers.kill(node)
    seen = ledger_total(run.near)
    _more_answers(run)
    run.crew.until(lambda: ledger_total(run.near) > seen, "the log goes on under another leader")
    assert not stage.servers.brokers.alive(node)
    return node


def _more_answers(run: Run, count: int = 10) -> None:
    before = len(run.crew.acknowledged())
    run.crew.until(lambda: len(run.crew.acknowledged()) >= before + count or run.crew.done(), "senders get answers")


def _pace(run: Run, seconds: float) -> None:
    """Not faster than that there is something left to send for so long."""
    run.crew.pace = min(1.5, 2 * LANES * TRACKS * seconds / max(1, run.crew.left()))


def _partitions(settings: Settings) -> list[dict[str, Any]]:
    admin = KafkaAdminClient(**settings.kafka("admin"), request_timeout_ms=5_000, bootstrap_timeout_ms=5_000)
    try:
        (topic,) = admin.describe_topics([settings.topic()])
        return list(topic["partitions"])
    finally:
        admin.close()


def _leader(settings: Settings) -> int:
    """The node that leads most partitions."""
    return Counter(int(p["leader_id"]) for p in _partitions(settings)).most_common(1)[0][0]


def in_sync(settings: Settings) -> bool:
    """Whether every partition has all its replicas."""
    try:
        return all(len(p["isr_nodes"]) == settings.kafka_replication for p in _partitions(settings))
    except KafkaError:
        return False
