"""How a court's question is answered: every command of the page runs, in order, and says what the page says."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from epicrisis.assembly import worker
from epicrisis.doors.fhir_http.app import PREFIX
from epicrisis.found import services
from epicrisis.local import operators as local_operators
from epicrisis.relay import Relay
from epicrisis.serve import app
from epicrisis.settings import Settings
from epicrisis.simulate.world import world
from tests.acceptance.test_readme import environment_of
from tests.infra import CHECKOUT, free_port
from tests.kernel_support import own_namespace, wait_until

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]

PAGE = (CHECKOUT / "docs" / "how-to" / "answer-a-courts-question.md").read_text(encoding="utf-8")
STEPS = re.findall(r"```sh\n(.*?)```(?:\n\n```text\n(.*?)```)?", PAGE, re.DOTALL)
END = "=== end of step"
VARIES = "…"
"""In the page's outputs: any text; alone on a line, any lines."""


class Terminal:
    """A shell that the page is typed into, block by block; it ends with the first command that fails."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._bash = subprocess.Popen(
            ["bash", "-euo", "pipefail"],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def type(self, block: str) -> str:
        """What the shell says to it."""
        assert self._bash.stdin is not None
        assert self._bash.stdout is not None
        self._bash.stdin.write(f"{block}\necho '{END}'\n")
        self._bash.stdin.flush()
        said = []
        for line in self._bash.stdout:
            if line.rstrip() == END:
                return "".join(said)
            said.append(line)
        raise AssertionError(f"this block failed:\n{block}\n{''.join(said)}")

    def close(self) -> None:
        """With everything that it started."""
        with suppress(ProcessLookupError):
            os.killpg(self._bash.pid, signal.SIGTERM)
        self._bash.communicate()


@pytest.fixture(scope="module")
def cluster(servers: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Two operators with a client each; servers, relay, worker and the HTTP door."""
    folder = tmp_path_factory.mktemp("operators")
    with own_namespace(servers | {"operators": folder}) as settings:
        for name in ("spreemed", "isaronko"):
            local_operators.make_one(settings, name, [site for site in world(1).sites if site.operator == name])
        relay, work = Relay(settings, list(services())), worker(settings)
        following = threading.Thread(target=work.run)
        relay.start()
        following.start()
        try:
            yield settings
        finally:
            work.stop()
            relay.stop()
            following.join()


@pytest.fixture
def door(cluster: Settings) -> Iterator[str]:
    port = free_port()
    base = f"http://127.0.0.1:{port}{PREFIX}"
    server = uvicorn.Server(uvicorn.Config(app(cluster, base), port=port, log_config=None, access_log=False))
    thread = threading.Thread(target=server.run)
    thread.start()
    wait_until(lambda: server.started, "the door listens")
    yield base
    server.should_exit = True
    thread.join()


@pytest.fixture
def terminal(cluster: Settings, door: str, tmp_path: Path) -> Iterator[Terminal]:
    given = {"BASE": door, "WITNESS_PORT": str(free_port()), "LC_ALL": "C.UTF-8"}
    opened = Terminal(tmp_path, environment_of(cluster) | given)
    yield opened
    opened.close()


def differs(expected: str, said: str) -> str:
    """What the page's output has that was not said, or the other way round; in whatever order the lines come."""
    left = [line.rstrip() for line in said.splitlines() if line.strip()]
    lines = [line.rstrip() for line in expected.splitlines() if line.strip()]
    for line in sorted((line for line in lines if line.strip() != VARIES), key=lambda line: line.count(VARIES)):
        pattern = re.compile(r".*?".join(re.escape(part) for part in re.split(rf" *{VARIES} *", line)))
        found = next((one for one in left if pattern.fullmatch(one)), None)
        if found is None:
            return f"nothing like: {line}"
        left.remove(found)
    return "" if VARIES in map(str.strip, lines) else "\n".join(left)


def test_the_page_from_the_question_to_the_verified_file(terminal: Terminal) -> None:
    assert len(STEPS) > 10
    assert sum(bool(expected) for _, expected in STEPS) >= 9
    for block, expected in STEPS:
        said = terminal.type(block)
        if expected:
            assert not differs(expected, said), f"{block}\nsays\n{said}\n{differs(expected, said)}"


def test_a_placeholder_stands_for_what_varies_and_for_nothing_else() -> None:
    assert differs("a … b\n", "a 1 2 b\n") == ""
    assert differs("a … b\n", "a 1 c\n") == "nothing like: a … b"
    assert differs("a\nb\n", "b\na\n") == ""
    assert differs("a\n", "a\nb\n") == "b"
    assert differs("a\n…\n", "a\nb\n") == ""
    assert differs("a\na\n", "a\n") == "nothing like: a"
