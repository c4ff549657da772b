"""The relay: pumps a journal to the log. It moves bytes; duplicates are allowed, gaps and loss are not.

Relays share a journal's slices by lease, a share (64 slices) at a time. Per slice a cursor follows ``pos``, whose
order is the order of commits, and moves only over the prefix that the broker has acknowledged, and only while the
lease's epoch is still this relay's. On any unexpected send error the producer is closed, a new one made, and the
cursor read again.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any
from uuid import UUID, uuid4

import psycopg
from kafka.errors import KafkaError

from epicrisis import logging, metrics
from epicrisis.codec import MAX_RECORD, written_headers
from epicrisis.database import Database
from epicrisis.errors import EpicrisisError, SendFailed
from epicrisis.journal.outgoing import SHARES, Look, Move, News, Outgoing, Row
from epicrisis.journal.postgres_outgoing import PostgresOutgoing
from epicrisis.producing import Batch, Producer
from epicrisis.settings import Settings
from epicrisis.slices import partition_of
from epicrisis.stopping import Signal, back_off

LEASE_SECONDS = 10.0
IDLE_SECONDS = (0.01, 0.04)
"""The shortest and the longest pause between two looks at a journal that has no news."""
MOVING_SECONDS, FULL_LOOK_SECONDS = 5.0, 1.0
SLICE_LIMIT = 2_000
ROUND_LIMIT = 8_000

PRODUCER: dict[str, Any] = {
    "client_id": "epicrisis-relay",
    "acks": "all",
    "enable_idempotence": True,
    "allow_auto_create_topics": False,
    "reconnect_backoff_max_ms": 1_000,
    "compression_type": "zstd",
    "batch_size": 512 * 1024,
    "linger_ms": 1,
    "max_request_size": MAX_RECORD,
    "delivery_timeout_ms": 60_000,
    "request_timeout_ms": 20_000,
}

log = logging.get(__name__)


class Leases:
    """The shares of one journal that this relay may move, by epoch."""

    def __init__(
        self,
        outgoing: Outgoing,
        owner: UUID,
        seconds: float = LEASE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._outgoing = outgoing
        self._owner = owner
        self._seconds = seconds
        self._clock = clock
        self._due = 0.0
        self.epochs: dict[int, int] = {}

    def keep(self) -> None:
        """Renew what is mine; take or give back, so that every living relay has its fair share. Cheap when not due."""
        if self._clock() < self._due:
            return
        with self._outgoing.transaction() as at:
            alive = at.join(self._owner, self._seconds)
            mine = at.renew(self._owner, self._seconds)
            fair = -(-SHARES // max(1, alive))
            if len(mine) < fair:
                mine.update(at.acquire(self._owner, self._seconds, fair - len(mine)))
            elif len(mine) > fair:
                surplus = sorted(mine)[fair:]
                at.release(self._owner, surplus)
                mine = {share: epoch for share, epoch in mine.items() if share not in surplus}
        self.epochs = mine
        self._due = self._clock() + self._seconds / 4

    def lost(self) -> None:
        """Something is not mine any more: look again at once."""
        self.epochs = {}
        self._due = 0.0

    def release(self) -> None:
        """Give everything back, so that others need not wait for the leases to run out."""
        with self._outgoing.transaction() as at:
            at.release(self._owner, range(SHARES))
            at.leave(self._owner)
        self.epochs = {}


class Pump:
    """One journal's pump: look, send, move the cursors."""

    def __init__(
        self,
        service: str,
        outgoing: Outgoing,
        topic: str,
        partitions: int,
        producer: Callable[[], Any],
        *,
        owner: UUID | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.service = service
        self.leases = Leases(outgoing, owner or uuid4(), clock=clock)
        self._outgoing = outgoing
        self._topic = topic
        self._partitions = partitions
        self._make_producer = producer
        self._clock = clock
        self._producer: Any = None
        self._position: int | None = None
        self._moving_until = self._full_look_at = 0.0

    def step(self) -> int:
        """One round. Returns how many events were acknowledged, 0 where there was no news.

        Raises
        ------
        SendFailed
            The broker did not acknowledge everything; what it did acknowledge is remembered.
        """
        self.leases.keep()
        if not self.leases.epochs:
            return 0
        with self._outgoing.look() as look:  # looks need no transaction: one round trip each
            if self._nothing_moves(look):
                return 0
            news = look.news(self.leases.epochs)
            if not news:
                return 0
            limit = max(1, min(SLICE_LIMIT, ROUND_LIMIT // len(news)))
            rows = look.fresh(news, limit)
        acknowledged, broken, error = self._send(rows)
        read = Counter(row.slice for row in rows)
        # A slice that was read to its end is done up to its tail, which an append to several slices sets ahead.
        ended = {n.slice: n.tail for n in news if read[n.slice] < limit and n.slice not in broken}
        self._move(news, acknowledged, ended)
        if error is not None:
            self._drop_producer()
            raise SendFailed(f"{self.service}: Kafka did not acknowledge ({error}); sending again from the cursor")
        return len(acknowledged)

    def _nothing_moves(self, look: Look) -> bool:
        """Whether a look at all slices can wait: nobody has appended for a while. Much cheaper than the look.

        An append takes its positions before it commits, so for some seconds after each move every look is a full one,
        and whatever may be slower than that is found by the full look once a second.
        """
        now = self._clock()
        if now < self._full_look_at and now <= self._moving_until:
            return False
        position = look.position()
        if position != self._position:
            self._position, self._moving_until = position, now + MOVING_SECONDS
        elif now < self._full_look_at:
            return True
        self._full_look_at = now + FULL_LOOK_SECONDS
        return False

    def _send(self, rows: Sequence[Row]) -> tuple[list[Row], set[int], str | None]:
        """Send all; the rows acknowledged before the first failure of their slice, the slices that failed, and why."""
        sent: list[tuple[Row, Any]] = []
        error: str | None = None
        try:
            if self._producer is None:
                self._producer = self._make_producer()
            for row in rows:
                sent.append((row, send(self._producer, self._topic, self._partitions, self.service, row)))
            self._producer.flush(timeout=60)
        except KafkaError as failure:
            error = type(failure).__name__
        acknowledged: list[Row] = []
        broken: set[int] = set()
        for row, future in sent:
            if row.slice in broken:
                continue
            if future.is_done and future.succeeded():
                acknowledged.append(row)
            else:
                broken.add(row.slice)
                error = error or (type(future.exception).__name__ if future.is_done else "no answer")
        unsent = {row.slice for row in rows[len(sent) :]}
        return acknowledged, broken | unsent, error

    def _move(self, news: Sequence[News], acknowledged: Sequence[Row], ended: Mapping[int, int]) -> None:
        old = {n.slice: n.cursor for n in news}
        upto = dict(old)
        for row in acknowledged:
            upto[row.slice] = max(upto[row.slice], row.pos)
        for slice_, tail in ended.items():
            upto[slice_] = max(upto[slice_], tail)
        moves = [Move(s, old[s], pos) for s, pos in sorted(upto.items()) if pos > old[s]]
        if not moves:
            return
        with self._outgoing.transaction() as at:
            moved = at.move(moves, self.leases.epochs)
        if moved < len(moves):
            log.warning("lease lost", service=self.service, count=len(moves) - moved)
            self.leases.lost()

    def run(self, stop: Signal, news: Signal) -> None:
        """Step until told to stop; ``news`` ends a pause early. Whatever fails is tried again with back-off."""
        shortest, longest = IDLE_SECONDS
        pause, failures = shortest, 0
        while not stop.is_set():
            try:
                sent = self.step()
            except Exception as error:  # whatever it is: a pump that has ended in silence is the worst of all
                failures += 1
                expected = isinstance(error, psycopg.Error | KafkaError | EpicrisisError)
                say = log.warning if expected else log.error
                say("relay waits", service=self.service, error=type(error).__name__, attempt=failures)
                if not expected:
                    self.start_over()
                stop.wait(back_off(failures))
                continue
            failures = 0
            if sent:
                log.debug("relayed", service=self.service, count=sent)
                metrics.relayed(self.service, sent)
                pause = shortest
            else:
                news.wait(pause)
                news.clear()
                pause = min(longest, pause * 2)

    def start_over(self) -> None:
        """Trust nothing that was made before: a new producer, the leases and the cursors read again."""
        self.leases.lost()
        with suppress(Exception):
            self._drop_producer()

    def _drop_producer(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.close(timeout=0)

    def close(self) -> None:
        """Stop: nothing is in flight between two steps."""
        if self._producer is not None:
            self._producer.close(timeout=10)
        try:
            self.leases.release()
        except (psycopg.Error, EpicrisisError):
            log.warning("leases not released", service=self.service)
        self._outgoing.close()


class Relay:
    """Pumps for several journals, a thread each, so that none stalls the others."""

    def __init__(self, settings: Settings, services: Collection[str]) -> None:
        self._stop = threading.Event()
        self._news = {name: threading.Event() for name in services}
        self.pumps = {
            name: Pump(
                name,
                PostgresOutgoing(Database(settings.dsn_for(name, "relay"), size=1, name=name)),
                settings.topic(),
                settings.partitions,
                lambda: producer(settings),
            )
            for name in services
        }
        self._threads = [
            threading.Thread(target=self._run, args=(pump,), name=f"relay {name}", daemon=True)
            for name, pump in self.pumps.items()
        ]

    def start(self) -> None:
        """Start the pumps."""
        for thread in self._threads:
            thread.start()

    def wake(self, service: str) -> None:
        """There is news in this journal: look now. For journals that live in this process."""
        self._news[service].set()

    def stop(self) -> None:
        """Finish what is in flight, give the leases back."""
        self._stop.set()
        for event in self._news.values():
            event.set()
        for thread in self._threads:
            thread.join()

    def _run(self, pump: Pump) -> None:
        pump.run(self._stop, self._news[pump.service])
        try:
            pump.close()
        except Exception as error:
            log.error("relay not closed", service=pump.service, error=type(error).__name__)


def send(log: Producer, topic: str, partitions: int, service: str, row: Row) -> Batch:
    """Write an event of a service's journal into the log; its future.

    Raises
    ------
    KafkaError
        See `Producer.send`.
    """
    return log.send(
        topic,
        key=row.subject.bytes,
        value=row.value,
        headers=written_headers(row.id, row.type, service, row.recorded),
        partition=partition_of(row.slice, partitions),
        timestamp_ms=int(row.recorded.timestamp() * 1000),
    )


def producer(settings: Settings) -> Producer:
    """An idempotent producer that never makes a topic."""
    return Producer(**settings.kafka("relay"), **PRODUCER)
