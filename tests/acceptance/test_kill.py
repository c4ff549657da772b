"""kill -9 of anything at any moment, restarted and sent again: the same journals, ledger and read models."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from epicrisis import simulate
from epicrisis.assembly import intake
from epicrisis.importing import import_files
from epicrisis.settings import Settings
from tests.acceptance import support
from tests.acceptance.support import Role, caught_up, installation, journal_total, ledger_total, roles, wait_until

pytestmark = [pytest.mark.servers, pytest.mark.slow, pytest.mark.timeout(400)]

SEEDS = (11, 23, 47)


class Agreed(NamedTuple):
    """What two runs on the same input agree on."""

    journals: Any
    bodies: str
    reads: dict[str, str]


def agreed(settings: Settings) -> Agreed:
    return Agreed(
        support.journals(settings), support.bodies_digest(settings), support.read_digests(settings, support.UNSAID)
    )


@pytest.fixture(scope="module")
def paths(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Infrastructure, four patients, and a small simulated cluster: nothing of it has to wait for what comes later."""
    folder = tmp_path_factory.mktemp("simulated")
    simulated = []
    for number, message in enumerate(simulate.messages(patients=8, seed=3)):
        simulated.append(folder / f"{number:06d}.json")
        simulated[-1].write_bytes(message.bundle)
    synthea = [support.synthea(shared_data, f) for f in ("infrastructure", "general", "oncology")]
    return [*synthea[0], *synthea[1][:3], *simulated, *synthea[2][:1]]


@pytest.fixture(scope="module")
def undisturbed(servers: dict[str, Any], paths: list[Path]) -> Agreed:
    with installation(servers) as settings, roles(settings, ("relay",), ("work",)):
        report = import_files(paths, intake(settings), operator="local", clinic="local/main")
        assert not report.refused
        caught_up(settings)
        return agreed(settings)


def finish(settings: Settings, paths: list[Path]) -> None:
    """Send everything once more, to the end, and check what is there."""
    last = support.run(settings, "import", *map(str, paths))
    assert last.returncode == 0, last.stdout[-2000:] + last.stderr[-2000:]
    caught_up(settings)
    assert support.inbox_counts(settings).keys() == {"done"}
    assert not support.rows(settings, "intake", "SELECT 1 FROM inbox.busy")
    support.assert_no_gaps(settings)
    support.assert_ledger_is_the_journals(settings)
    assert not support.rows(settings, "cluster", "SELECT 1 FROM projection.parked")
    assert not support.rows(settings, "cluster", "SELECT 1 FROM projection.poison")


def test_kill_9_of_import_relay_and_worker_loses_and_doubles_nothing(
    servers: dict[str, Any], paths: list[Path], undisturbed: Agreed
) -> None:
    total = sum(map(len, undisturbed.journals.values()))
    with installation(servers) as settings, roles(settings, ("relay",), ("work",)) as running:
        relay, worker = running
        hit = 0
        for number, seed in enumerate(SEEDS):
            chance = random.Random(seed)
            importer = Role(settings, "import", *map(str, paths))
            running.append(importer)
            target = total * (number + chance.random()) / len(SEEDS)
            wait_until(lambda: journal_total(settings) >= target or not importer.alive, "some were imported")  # noqa: B023
            seen, hit = ledger_total(settings), hit + importer.alive
            victims = [importer, relay, worker]
            chance.shuffle(victims)
            for victim in victims:
                time.sleep(chance.uniform(0, 0.2))
                victim.kill()
            relay, worker = Role(settings, "relay"), Role(settings, "work")
            running += [relay, worker]
            wait_until(lambda: ledger_total(settings) > seen or journal_total(settings) == seen, "it goes on")  # noqa: B023
        assert hit >= 2, "most imports were killed while they were at it"
        finish(settings, paths)
        found = agreed(settings)
    assert found.journals == undisturbed.journals
    assert found.bodies == undisturbed.bodies
    assert found.reads == undisturbed.reads


def frozen_with_its_locks(settings: Settings, worker: Role) -> bool:
    """Stop it for a moment; whether it holds locks in an open transaction now. If not, it goes on."""
    worker.send(signal.SIGSTOP)
    time.sleep(0.02)
    query = f"""SELECT 1 FROM pg_stat_activity JOIN pg_locks USING (pid) WHERE state = 'idle in transaction'
    AND usename = '{settings.role("worker")}' AND mode = 'RowExclusiveLock'"""
    if support.rows(settings, "cluster", query):
        return True
    worker.send(signal.SIGCONT)
    time.sleep(0.01)
    return False


def test_a_worker_frozen_in_a_transaction_stops_nobody_and_changes_nothing_when_it_wakes_up(
    servers: dict[str, Any], paths: list[Path], undisturbed: Agreed
) -> None:
    epochs = "SELECT sum(epoch) FROM projection.offset"
    with installation(servers) as settings, roles(settings, ("relay",), ("work",)) as running:
        sleeper = running[1]
        importer = Role(settings, "import", *map(str, paths))
        running.append(importer)
        wait_until(lambda: ledger_total(settings) > 100, "the worker is at work")
        wait_until(lambda: frozen_with_its_locks(settings, sleeper), "the worker is within a transaction")
        before = support.rows(settings, "cluster", epochs)
        running.append(Role(settings, "work"))
        wait_until(lambda: support.rows(settings, "cluster", epochs) > before, "the second worker took over")
        assert importer.to_the_end() == 0
        caught_up(settings)
        sleeper.send(signal.SIGCONT)
        time.sleep(1)
        finish(settings, paths)
        found = agreed(settings)
    assert found == undisturbed
