"""Senders: what is sent, in which order, and what was acknowledged."""

from __future__ import annotations

import json
import os
import random
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from epicrisis.grouped import pause
from epicrisis.lockstep import Lockstep
from epicrisis.simulate.directory import directory
from epicrisis.simulate.run import BEGIN, live
from epicrisis.simulate.world import world
from tests.faults.processes.history import Acknowledged

AT_ONCE = 40
"""Messages that one process sends before it ends."""
LANES = 2
TRACKS = 3
"""Of a lane, which go in step: what is killed in the middle of one message is in the middle of several."""


def write_messages(folder: Path, patients: int, seed: int) -> tuple[Path, list[Path]]:
    """The directory's messages in one folder, and the patients' in one per lane: a patient is in one track of one lane.

    Within a track the order is the order of sending; between tracks there is none, and none is needed.
    """
    cluster = world(seed)
    first = _write(folder / "directory", 0, directory(cluster, seed, BEGIN - timedelta(days=1)))
    lanes = [folder / f"lane-{lane}" for lane in range(LANES)]
    for at in range(LANES * TRACKS):
        numbers = range(at + 1, patients + 1, LANES * TRACKS)
        messages = (m for number in numbers for m in live(cluster, seed, number).messages)
        _write(lanes[at % LANES], at // LANES, sorted(messages, key=lambda m: m.sent))
    return first, lanes


def _write(folder: Path, track: int, messages: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, message in enumerate(messages):
        (folder / f"{track}-{number:06d}.json").write_bytes(message.bundle)
    return folder


def send(folder: str, answers: str, pace: str) -> None:
    """Import the next messages of a lane, its tracks in step; each answer is written down before the next message of
    its track is sent.

    It begins with the first message without an answer, after one that was answered, now and then.
    `pace`: seconds at most between two messages of a track. Ends with 0 where nothing goes wrong.
    """
    from epicrisis.assembly import intakes
    from epicrisis.importing import import_files
    from epicrisis.logging import configure
    from epicrisis.settings import Settings

    configure("import")
    lane = Lane(Path(folder), Path(answers))
    known = lane.answered()
    made = intakes(Settings.read())
    executor = Lockstep(1, TRACKS)
    futures = []
    for track in range(TRACKS):
        paths = [path for path in lane.paths if path.name not in known and path.name.startswith(f"{track}-")]
        paths = paths[: AT_ONCE // TRACKS]
        if known and random.random() < 0.5:
            paths.insert(0, lane.paths[lane.names.index(random.choice(sorted(known)))])
        if paths:
            recording = _Recording(made(), lane, paths, float(pace))
            futures.append(
                executor.submit(
                    import_files,
                    paths,
                    recording,  # type: ignore[arg-type]
                    operator="local",
                    clinic="local/main",
                )
            )
    executor.shutdown()
    for future in futures:
        future.result()


class Lane:
    """A folder of messages, and the file of the answers to them."""

    def __init__(self, folder: Path, answers: Path) -> None:
        self.folder, self.answers = folder, answers
        self.paths = sorted(folder.glob("*.json"))
        self.names = [path.name for path in self.paths]

    def acknowledged(self) -> list[Acknowledged]:
        """Every answer so far, in order."""
        return [Acknowledged(a["file"], UUID(a["message"]), a["events"], a["repeated"]) for a in self._lines()]

    def answered(self) -> set[str]:
        """The names of the files that need not be sent any more."""
        return {a["file"] for a in self._lines()}

    def done(self) -> bool:
        """Whether every message was answered."""
        return len(self.answered()) == len(self.paths)

    def _lines(self) -> list[Any]:
        if not self.answers.exists():
            return []
        return [json.loads(line) for line in self.answers.read_text(encoding="ascii").splitlines(keepends=True)]


class _Recording:
    """An intake that writes every answer down before the next message is sent. It gets them in the order of paths."""

    def __init__(self, intake: Any, lane: Lane, paths: list[Path], pace: float) -> None:
        self.check = intake.check
        self._intake, self._left, self._pace = intake, list(paths), pace
        self._answers = os.open(lane.answers, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def receive(self, raw: bytes, **given: Any) -> Any:
        path = self._left.pop(0)
        assert path.read_bytes() == raw, "a message was refused: not one of these may be"
        receipt = self._intake.receive(raw, **given)
        answer = {
            "file": path.name,
            "message": str(receipt.message),
            "events": dict(receipt.events),
            "repeated": receipt.repeated,
        }
        os.write(self._answers, json.dumps(answer).encode() + b"\n")
        pause(random.uniform(0, self._pace))
        return receipt
