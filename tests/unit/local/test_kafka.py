"""Several local brokers: their settings, and folders that were made for another number of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from epicrisis.errors import SettingsError
from epicrisis.local import kafka
from epicrisis.local.state import State


def made(state: State, *nodes: int) -> None:
    state.make()
    state.secret(kafka.SECRET, create=True)
    for node in nodes:
        kafka.folder(state, node).mkdir(parents=True)
        (kafka.folder(state, node) / "meta.properties").touch()


def test_of_three_brokers_two_must_have_every_record() -> None:
    settings = kafka.clustered(2, [9001, 9002, 9003])
    assert settings["node.id"] == "2"
    assert settings["controller.quorum.voters"] == "1@127.0.0.1:9001,2@127.0.0.1:9002,3@127.0.0.1:9003"
    assert settings["offsets.topic.replication.factor"] == settings["default.replication.factor"] == "3"
    assert settings["min.insync.replicas"] == "2"


def test_what_is_said_last_in_the_settings_counts(tmp_path: Path) -> None:
    state = State(tmp_path / "state")
    state.make()
    (state.folder / "kafka").mkdir()
    file = kafka.configure(state, tmp_path / "data", 2, 9092, [9001, 9002, 9003], {"min.insync.replicas": "1"})
    assert file.name == "server-2.properties"
    assert file.stat().st_mode & 0o077 == 0
    lines = [line.split("=", 1) for line in file.read_text().splitlines() if "=" in line and not line.startswith("#")]
    settings: dict[str, str] = dict(lines)  # the last one counts, as in Java
    assert settings["node.id"] == "2"
    assert settings["min.insync.replicas"] == "1"
    assert "CONTROLLER://127.0.0.1:9002" in settings["listeners"]


@pytest.mark.parametrize(("there", "wanted"), [((1,), 3), ((1, 2, 3), 1), ((1, 2, 3), 2)])
def test_folders_made_for_another_number_of_brokers_are_left_alone(
    tmp_path: Path, there: tuple[int, ...], wanted: int
) -> None:
    state = State(tmp_path / "state")
    made(state, *there)
    with pytest.raises(SettingsError, match="another number of brokers"):
        kafka.initialise(state, "", wanted)


def test_folders_that_are_there_are_not_made_again(tmp_path: Path) -> None:
    state = State(tmp_path / "state")
    made(state, 1, 2, 3)
    kafka.initialise(state, "", 3)
