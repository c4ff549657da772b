"""The log in memory: partitions, a producer whose sends fail in every way, and a consumer group."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from kafka import TopicPartition
from kafka.errors import KafkaConnectionError, KafkaTimeoutError, NoOffsetForPartitionError, NotLeaderForPartitionError

from tests.faults.simulation.schedule import Process, Schedule

IDLE_STRETCH = 5.0
"""Idle workers look this much more seldom than real ones: most turns would be theirs."""


class Record(NamedTuple):
    """What is in the log, and what a consumer is handed."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None


class Log:
    """One topic. Only what is acknowledged is here: what a broker may still truncate, no consumer sees."""

    def __init__(self, schedule: Schedule, topic: str, partitions: int) -> None:
        self.schedule, self.topic = schedule, topic
        self.partitions: list[list[Record]] = [[] for _ in range(partitions)]
        self.values: set[bytes] = set()
        self.late: list[tuple[int, bytes | None, bytes | None]] = []
        self.groups: dict[str, Group] = {}
        self.on_write: Callable[[Record], None] = lambda _: None

    def write(self, partition: int, key: bytes | None, value: bytes | None) -> int:
        some = self.partitions[partition]
        record = Record(partition, len(some), key, value)
        some.append(record)
        if value is not None:
            self.values.add(value)
        self.on_write(record)
        return record.offset

    def truncate(self, partition: int) -> None:
        """A leader dies with what its followers do not have yet."""
        record = self.partitions[partition].pop()
        if record.value is not None:
            left = (r.value for some in self.partitions for r in some)
            if record.value not in left:
                self.values.discard(record.value)

    def arrive(self) -> None:
        """What was on its way arrives, of whomever it was."""
        if self.late:
            partition, key, value = self.late.pop(0)
            self.write(partition, key, value)

    def ends(self) -> dict[int, int]:
        return {n: len(some) for n, some in enumerate(self.partitions)}


class Sent:
    """A future."""

    is_done = False
    exception: Exception | None = None

    def succeeded(self) -> bool:
        return self.is_done and self.exception is None

    def settle(self, exception: Exception | None = None) -> None:
        self.is_done, self.exception = True, exception


class Producer:
    """Takes the production settings: with other ``acks`` than "all" it loses what it has acknowledged."""

    def __init__(self, log: Log, options: dict[str, Any]) -> None:
        self._log, self._schedule = log, log.schedule
        self._safe = options["acks"] == "all"
        self._buffer: list[tuple[Sent, int, bytes, bytes]] = []

    def send(self, topic: str, *, key: bytes, value: bytes, partition: int, **_: Any) -> Sent:
        if self._schedule.rate("send"):
            self._schedule.fault("send raises")
            raise KafkaTimeoutError("no metadata")
        sent = Sent()
        self._buffer.append((sent, partition, key, value))
        return sent

    def flush(self, timeout: float) -> None:
        """Partition by partition, in runs of some records; a run arrives, or not, or its answer does not."""
        chance, buffer = self._schedule.chance, self._buffer
        self._buffer = []
        partitions = sorted({partition for _, partition, *_ in buffer})
        chance.shuffle(partitions)
        for partition in partitions:
            waiting = [entry for entry in buffer if entry[1] == partition]
            while waiting:
                size = chance.randint(1, len(waiting))
                run, waiting = waiting[:size], waiting[size:]
                try:
                    self._schedule.turn("send", cuts=None)
                except BaseException:
                    self._abandon([*run, *waiting])
                    raise
                self._deliver(run)
        if self._schedule.rate("send"):
            self._schedule.fault("flush times out")
            raise KafkaTimeoutError("still in flight")

    def _abandon(self, entries: list[tuple[Sent, int, bytes, bytes]]) -> None:
        """Its process is gone; what the network has of it may still arrive."""
        arriving = self._schedule.chance.randint(0, len(entries))
        self._log.late += [(partition, key, value) for _, partition, key, value in entries[:arriving]]

    def _deliver(self, run: list[tuple[Sent, int, bytes, bytes]]) -> None:
        how = ""
        if self._schedule.rate("send"):
            how = self._schedule.chance.choice(("lost", "unanswered", "late", "twice", "truncated", "no answer yet"))
            self._schedule.fault(f"send {how}")
        for sent, partition, key, value in run:
            match how:
                case "lost":
                    sent.settle(KafkaConnectionError("lost"))
                case "unanswered":
                    self._log.write(partition, key, value)
                    sent.settle(KafkaTimeoutError("no answer"))
                case "late":
                    self._log.late.append((partition, key, value))
                    sent.settle(KafkaTimeoutError("no answer"))
                case "no answer yet":
                    self._log.late.append((partition, key, value))
                case "truncated" if self._safe:  # it was not acknowledged: nobody has seen it
                    sent.settle(NotLeaderForPartitionError("another leader"))
                case "truncated":
                    self._log.write(partition, key, value)
                    self._log.truncate(partition)
                    sent.settle()
                case _:
                    self._log.write(partition, key, value)
                    sent.settle()
        if how == "twice":
            for _, partition, key, value in run:
                self._log.write(partition, key, value)

    def close(self, timeout: float) -> None:
        self._abandon(self._buffer)
        self._buffer = []


class Group:
    """A consumer group: who has which partition. A member that it has given up learns so at its next poll."""

    def __init__(self) -> None:
        self.members: list[Consumer] = []
        self.generation = 0
        self.owners: dict[int, Consumer] = {}
        self.committed: dict[int, int] = {}

    def share_out(self, schedule: Schedule, partitions: int) -> None:
        self.generation += 1
        members = list(self.members)
        schedule.chance.shuffle(members)
        self.owners = {n: members[n % len(members)] for n in range(partitions)} if members else {}


class Consumer:
    """Takes the production settings: where it begins, and whether it commits by itself, is as they say."""

    def __init__(self, log: Log, group: str, options: dict[str, Any]) -> None:
        self._log, self._schedule = log, log.schedule
        self._group = log.groups.setdefault(group, Group())
        self._auto_commit, self._reset = options["enable_auto_commit"], options["auto_offset_reset"]
        self._session = options["session_timeout_ms"] / 1000
        self._process: Process | None = self._schedule.current and self._schedule.current.host
        self._life = self._process.lives if self._process else 0
        self._seen = self._schedule.now
        self._generation = -1
        self._left_out = False
        self._listener: Any = None
        self._at: dict[int, int | None] = {}

    def topics(self) -> set[str]:
        self._schedule.turn("metadata", cuts=KafkaConnectionError)
        return {self._log.topic}

    def subscribe(self, topics: Iterable[str], listener: Any) -> None:
        self._listener = listener
        self._group.members.append(self)
        self._group.share_out(self._schedule, len(self._log.partitions))

    def seek(self, place: TopicPartition, offset: int) -> None:
        self._at[place.partition] = offset

    def poll(self, timeout_ms: int, max_records: int) -> dict[TopicPartition, list[Record]]:
        self._schedule.turn("poll", cuts=KafkaConnectionError)
        self._seen = self._schedule.now
        if self._schedule.rate("rebalance"):
            self._schedule.fault("rebalance")
            self._group.share_out(self._schedule, len(self._log.partitions))
        self._forget_the_dead()
        self._join()
        polled = {} if self._left_out else self._fetch(max_records)
        if not polled:
            self._schedule.sleep(timeout_ms / 1000 * IDLE_STRETCH)
        return polled

    def _forget_the_dead(self) -> None:
        gone = [m for m in self._group.members if m.silent_for() > m._session]
        if gone:
            self._schedule.say(f"the group gives up {len(gone)} members")
            self._group.members = [m for m in self._group.members if m not in gone]
            self._group.share_out(self._schedule, len(self._log.partitions))

    def silent_for(self) -> float:
        """Since when there was no heartbeat: those come from a thread, and stop with the process."""
        process, now = self._process, self._schedule.now
        if process is None:
            return 0.0
        if process.lives != self._life or process.greenlet is None:
            return now - process.killed_at
        return now - self._seen if process.frozen_until > now else 0.0

    def _join(self) -> None:
        if self not in self._group.members:
            self._group.members.append(self)
            self._group.share_out(self._schedule, len(self._log.partitions))
        if self._generation == self._group.generation:
            return
        self._generation = self._group.generation
        self._listener.on_partitions_revoked({TopicPartition(self._log.topic, n) for n in self._at})
        if self._left_out or self._schedule.rate("left out"):
            self._schedule.fault("left out")
            self._left_out = True  # the client has lost what the group answered, and asks no more
            return
        mine = [n for n, member in self._group.owners.items() if member is self]
        self._at = {n: self._group.committed.get(n) for n in mine}
        try:
            self._listener.on_partitions_assigned([TopicPartition(self._log.topic, n) for n in mine])
        except Exception as error:
            raise KafkaConnectionError("User rebalance callback throws an error") from error

    def _fetch(self, max_records: int) -> dict[TopicPartition, list[Record]]:
        chance = self._schedule.chance
        polled: dict[TopicPartition, list[Record]] = {}
        for partition, at in list(self._at.items()):
            some = self._log.partitions[partition]
            if at is None:
                at = self._first(partition, len(some))
            if at and self._schedule.rate("redeliver"):
                self._schedule.fault("redeliver")
                at = chance.randint(0, at)
            if at < len(some) and chance.random() < 0.8:
                end = min(len(some), at + chance.randint(1, min(12, max_records)))
                polled[TopicPartition(self._log.topic, partition)] = some[at:end]
                self._at[partition] = end
                if self._auto_commit:
                    self._group.committed[partition] = end
        return polled

    def _first(self, partition: int, end: int) -> int:
        match self._reset:
            case "none":
                raise NoOffsetForPartitionError(TopicPartition(self._log.topic, partition))
            case "latest":
                return end
        return 0

    def close(self, autocommit: bool) -> None:
        process = self._schedule.current
        if process is not None and process.host.killed:  # a process that is gone says good-bye to nobody
            return
        if self in self._group.members:
            self._group.members.remove(self)
            self._group.share_out(self._schedule, len(self._log.partitions))
