"""The simulated operators come in by the doors of this machine without anybody writing anything."""

from __future__ import annotations

import stat
from pathlib import Path

from joserfc.jwk import import_key

from epicrisis.doors.fhir_http.client import assertion
from epicrisis.doors.fhir_http.tokens import registered
from epicrisis.local.operators import client_of, make, private_key
from epicrisis.local.state import read
from epicrisis.operators import read_operators
from epicrisis.settings import Settings


def test_every_simulated_operator_has_a_manifest_and_a_client_with_a_key(tmp_path: Path) -> None:
    settings = Settings(state=tmp_path)
    made = make(settings)
    operators = read_operators(settings.operators_folder)
    assert set(made) == set(operators)
    clients = registered(operators)
    for name in made:
        file = private_key(settings, client_of(name))
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        client = clients[client_of(name)]
        assert client.caller.operator == name
        key = import_key(read(file))
        assert key.kid in [one.kid for one in client.keys.keys]
        assert assertion(client_of(name), key, "http://here")
    assert make(settings) == [], "what is there stays"


def test_none_is_made_where_the_operators_are_described_elsewhere(tmp_path: Path) -> None:
    assert make(Settings(state=tmp_path, operators=tmp_path / "ours")) == []
    assert not (tmp_path / "operators").exists()
