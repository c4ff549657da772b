"""Real processes on real servers under real faults: nothing lost, nothing doubled, nothing out of order.

Short forms of what `make faults` runs at full length.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import infra
from tests.faults.processes import brokers, disks
from tests.faults.processes.roles import warm_up
from tests.faults.processes.servers import scratch_folder, servers
from tests.faults.processes.stage import Stage
from tests.faults.processes.storm import Storm

pytestmark = [pytest.mark.servers, pytest.mark.slow, pytest.mark.timeout(500)]

KILLS, PATIENTS, SEED = 100, 8, 4


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """Three brokers and a PostgreSQL that these tests may break."""
    if infra.kind() != "embedded":
        pytest.skip("not run: these tests kill servers, so they start their own (EPICRISIS_TEST_INFRA=embedded)")
    warm_up()
    with scratch_folder() as scratch, servers(scratch / "state") as running:
        yield Stage(running, scratch, patients=PATIENTS, seed=SEED)


def test_a_storm_of_kills_and_other_faults_loses_doubles_and_reorders_nothing(stage: Stage) -> None:
    storm = Storm(stage, kills=KILLS, seed=SEED, without=("broker kill -9", "two brokers kill -9"))
    verdict = storm.run()
    print(f"seed {SEED}: {dict(storm.happened)}")
    assert storm.kills >= KILLS
    assert verdict.acknowledged > 0
    assert len(storm.happened) >= 10, "many kinds of fault"
    assert storm.looks >= 5
    assert verdict.problems == []


def test_publishing_goes_on_without_the_leader_and_waits_while_two_of_three_brokers_are_down(stage: Stage) -> None:
    verdict, _ = brokers.two_of_three_down(stage)
    assert verdict.problems == []


def test_postgresqls_disk_is_full(stage: Stage, tmp_path: Path) -> None:
    try:
        verdict, _ = disks.postgres_full(stage, tmp_path)
    except disks.NotAllowed as reason:
        pytest.skip(str(reason))
    assert verdict.problems == []
