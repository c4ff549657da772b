"""The README's commands do what it says: its marked blocks run, in order, on the tests' servers."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from epicrisis.assembly import worker
from epicrisis.found import projections, services
from epicrisis.lag import Lag
from epicrisis.relay import Relay
from epicrisis.settings import PREFIX, Settings
from tests.infra import CHECKOUT
from tests.kernel_support import own_namespace

pytestmark = pytest.mark.servers

README = (CHECKOUT / "README.md").read_text(encoding="utf-8")
MARKED = re.findall(r"<!-- runs as a test -->\n```sh\n(.*?)```", README, re.DOTALL)
READ_MODELS = (CHECKOUT / "docs" / "reference" / "read-models.md").read_text(encoding="utf-8")


@dataclass
class Shell:
    """A folder, and an environment that names a running installation."""

    folder: Path
    environment: dict[str, str]
    settings: Settings

    def run(self, script: str) -> str:
        """Run a block as a reader would paste it; every command must succeed."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def wait(self) -> None:
        """Until everything is readable."""
        lag = Lag(self.settings)
        lag.wait(60, ["ledger"])
        lag.close()


@pytest.fixture(scope="module")
def shell(servers: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """What a demo that was left running is to its user: provisioned servers, a relay, a worker."""
    operators = tmp_path_factory.mktemp("operators")  # none: those of other tests have inboxes that are not here
    with own_namespace(servers | {"operators": operators}) as settings:
        relay, work = Relay(settings, list(services())), worker(settings)
        following = threading.Thread(target=work.run)
        relay.start()
        following.start()
        try:
            yield Shell(tmp_path_factory.mktemp("readme"), environment_of(settings), settings)
        finally:
            work.stop()
            relay.stop()
            following.join()


def environment_of(settings: Settings) -> dict[str, str]:
    """The environment in which `epicrisis` finds this installation."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(f"{PREFIX}TEST_")}
    for name in settings.model_fields_set - {"dsns"}:
        value = getattr(settings, name)
        env[f"{PREFIX}{name.upper()}"] = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
    return env | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"}


def test_the_two_commands_exist() -> None:
    makefile = (CHECKOUT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"`?make ([a-z]+)", README)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_publish_your_first_data_then_look_at_it(shell: Shell) -> None:
    publish, look = MARKED
    published = shell.run(publish)
    assert "events: 1 diagnosis, 1 registration; 0 messages known already; 0 refused" in published
    assert "events: none; 1 message known already; 0 refused" in published
    shell.wait()
    seen = shell.run(look)
    assert seen.count("Muster") >= 3  # the roster, the timeline, the roster as of then
    assert "Breast cancer" in seen
    assert "diagnosis.DiagnosisRecorded" in seen
    assert "added" in seen  # the difference
    assert "suspected_at" in seen  # the explanation
    assert "0 parked" in seen


@pytest.mark.parametrize("name", sorted(projections()))
def test_the_columns_of_a_read_model_are_the_documented_ones(name: str, shell: Shell) -> None:
    section = READ_MODELS.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    (line,) = re.findall(r"^Columns: (.*)$", section, re.MULTILINE)
    header = shell.run(f"epicrisis read {name} --limit 0 --format csv")
    assert header.strip() == ",".join(re.findall(r"`(\w+)`", line))
