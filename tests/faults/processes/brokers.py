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
from tests.faults.processes.stage import Run, Stage


def leaders_killed(stage: Stage, times: int) -> tuple[Verdict, Counter[str]]:
    """kill -9 of the broker that leads most partitions, again and again; publishing goes on without it each time."""
    with stage.run("leaders") as run:
        for number in range(times):
            _pace(run, times + 1 - number, 8.0)
            node = _leader(run.near)
            stage.servers.brokers.kill(node)
            acknowledged = ledger_total(run.near)
            run.crew.until(lambda: ledger_total(run.near) > acknowledged, "the log goes on under another leader")  # noqa: B023
            assert not stage.servers.brokers.alive(node)
            stage.servers.brokers.start()
            run.crew.until(lambda: in_sync(run.near), "every replica is back")
        return run.check(), Counter({"leader kill -9": times})


def two_of_three_down(stage: Stage) -> tuple[Verdict, Counter[str]]:
    """kill -9 of two brokers: senders still get their answers, publishing waits; all comes when the brokers return."""
    with stage.run("two-down") as run:
        _pace(run, 1, 5.0)
        run.crew.until(lambda: ledger_total(run.near) > 0 and in_sync(run.near), "it begins")
        down = random.Random(stage.seed).sample(list(stage.servers.brokers.nodes), 2)
        for node in down:
            stage.servers.brokers.kill(node)
        before = len(run.crew.acknowledged())
        run.crew.until(lambda: len(run.crew.acknowledged()) >= before + 10, "senders get their answers")
        still = ledger_total(run.near)
        run.crew.until(lambda: len(run.crew.acknowledged()) >= before + 20 or run.crew.done(), "and more of them")
        assert ledger_total(run.near) == still, "something was published that two of three brokers cannot have"
        assert not any(map(stage.servers.brokers.alive, down))
        stage.servers.brokers.start()
        return run.check(), Counter({"two of three brokers kill -9": 1})


def _pace(run: Run, share: int, seconds: float) -> None:
    """So many messages a second that there are some left for what is to come."""
    for name, lane in run.crew.lanes.items():
        left = len(lane.paths) - len(lane.answered())
        run.crew.paces[name] = min(1.0, 2 * seconds * share / max(1, left))


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
