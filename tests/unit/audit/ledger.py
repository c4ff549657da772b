"""A ledger in memory with its checkpoints and witnesses: what the tests of the proof are done on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from uuid import UUID

from epicrisis.audit.chain import entry_of, first_link, next_link
from epicrisis.audit.checkpoint import Checkpoints
from epicrisis.audit.memory import MemoryRecords
from epicrisis.audit.signing import Signer
from epicrisis.audit.verifier.envelope import Envelope
from epicrisis.audit.verifier.merkle import Wrong
from epicrisis.audit.witness import Witness
from epicrisis.ledger import Entry

ORIGIN = "cluster.example"
START = datetime(2026, 3, 1, 8, tzinfo=UTC)


def secret(name: str) -> bytes:
    return sha256(name.encode()).digest()


class Ledger:
    """Archives events as the worker does; ``witnesses`` cosign its checkpoints, ``enough`` of them are enough."""

    def __init__(self, *, witnesses: int = 0, enough: int = 0, partitions: int = 4, name: str = "log") -> None:
        self.records = MemoryRecords()
        self.now = START
        self.partitions = partitions
        self.histories: dict[UUID, list[Entry]] = {}
        self.signer = Signer.log(ORIGIN, secret(name))
        self.witnesses = [self.witness(f"w{n}.example") for n in range(witnesses)]
        self.policy = policy([one.signer for one in self.witnesses], enough)
        self.checkpoints = self.with_records(self.records)

    def with_records(self, records: MemoryRecords, signer: Signer | None = None) -> Checkpoints:
        return Checkpoints(
            records,
            signer or self.signer,
            self.partitions,
            witnesses=self.policy,
            files={"schemas.json": "{}\n"},
            now=lambda: self.now,
        )

    def witness(self, name: str) -> Witness:
        keys = self.signer.keys
        return Witness(Signer.witness(name, secret(name)), keys, ":memory:", now=lambda: self.now.timestamp())

    def partition_of(self, subject: UUID) -> int:
        return subject.int % self.partitions

    def add(self, subject: UUID, *values: bytes, access: bool = False) -> None:
        """The subject's next events; or who has looked at them."""
        past = self.histories.setdefault(subject, [])
        partition = self.partition_of(subject)
        for value in values:
            n, link = len(past) + 1, next_link(past[-1].link if past else first_link(subject), value)
            before = self.records.ledger.get(partition, b"")
            past.append(Entry(n, "chart", n, self._recorded(value), link, value, len(before) // 56))
            self.records.ledger[partition] = before + entry_of(subject, n, link)
            if access:
                at = self.records.accessed.get(partition, [])
                self.records.accessed[partition] = [*at, len(before) // 56]

    def _recorded(self, value: bytes) -> datetime:
        try:
            return Envelope.parse(value).recorded
        except Wrong:  # not every test needs real records
            return self.now

    def publish(self) -> bool:
        """A checkpoint, a minute later, and its cosignatures; whether it is trusted."""
        self.now += timedelta(minutes=1)
        self.checkpoints.publish()
        return self.checkpoints.witness(self.ask)[0]

    def ask(self, address: str, request: str) -> tuple[int, str]:
        """A witness over HTTP, without HTTP."""
        (one,) = (w for w in self.witnesses if address == f"https://{w.signer.name}")
        answer = one.add_checkpoint(request.encode())
        return answer.status, answer.body


def policy(witnesses: Sequence[Signer], enough: int) -> str:
    """The lines of a trust policy: so many of these witnesses, each with both its keys."""
    lines = []
    for n, one in enumerate(witnesses):
        lines += [f"witness w{n} {one.keys[0]} https://{one.name}", f"witness w{n}q {one.keys[1]} https://{one.name}"]
        lines += [f"group W{n} all w{n} w{n}q"]
    if enough:
        lines += [f"group enough {enough} {' '.join(f'W{n}' for n in range(len(witnesses)))}"]
    return "".join(f"{line}\n" for line in [*lines, f"quorum {'enough' if enough else 'none'}"])
