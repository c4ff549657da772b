"""What is left of a state folder after an accident: what can be made anew is, and no advice costs the data."""

from __future__ import annotations

from pathlib import Path

import pytest

from epicrisis import local
from epicrisis.errors import SettingsError
from epicrisis.local import kafka, postgres
from epicrisis.local.process import running
from epicrisis.local.state import State
from epicrisis.settings import Settings


@pytest.fixture
def state(tmp_path: Path) -> State:
    made = State(tmp_path / "state")
    made.make()
    return made


def test_damaged_ports_are_chosen_anew(state: State) -> None:
    for damaged in ('{"kafka": 4', '{"kafka": "4"}', '{"kafka": 0}', '{"kafka": 99999}'):
        state.ports_file.write_text(damaged)
        assert state.port("kafka") is None
    state.remember_port("kafka", 4711)
    assert state.port("kafka") == 4711


def test_a_damaged_run_record_is_none(state: State) -> None:
    (state.run / "kafka.json").write_text('{"pid": 1')
    assert running(state, "kafka") is None


def test_who_loses_the_secrets_is_told_what_it_would_cost(state: State) -> None:
    state.secrets_file.write_text("{")
    with pytest.raises(SettingsError, match=r"put the old secrets file back, or .* and lose its data"):
        state.secret("x", create=True)


def test_servers_whose_secrets_are_gone_are_not_started_on_new_ones(state: State) -> None:
    """New ones would not fit, and Kafka takes a minute and a half to say so."""
    (kafka.folder(state, 1)).mkdir(parents=True)
    (kafka.folder(state, 1) / "meta.properties").touch()
    (state.folder / "postgres" / "data").mkdir(parents=True)
    (state.folder / "postgres" / "data" / "PG_VERSION").write_text("18")
    with pytest.raises(SettingsError, match="put the old secrets file back"):
        kafka.initialise(state, class_path="", nodes=1)
    with pytest.raises(SettingsError, match="put the old secrets file back"):
        postgres.initialise(state)
    assert not state.secrets_file.exists()


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    settings = Settings(state=tmp_path / "state")
    assert {part.state for part in local.status(settings)} == {"stopped"}
    for command in (local.up, local.down):
        with pytest.raises(SettingsError, match="name one that can be written, in EPICRISIS_STATE"):
            command(settings)
