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
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import psycopg
from kafka import KafkaProducer
from kafka.errors import KafkaError

from epicrisis import logging, metrics
from epicrisis.codec import MAX_RECORD, headers_of
from epicrisis.database import Database
from epicrisis.errors import EpicrisisError, SendFailed
from epicrisis.settings import Settings
from epicrisis.slices import partition_of
from epicrisis.sql import queries

_SQL = queries("epicrisis.journal")
SHARES = 16
LEASE_SECONDS = 10.0
IDLE_SECONDS = (0.002, 0.03)
"""The shortest and the longest pause between two looks at a journal that has no news."""
MOVING_SECONDS, FULL_LOOK_SECONDS = 5.0, 1.0
SLICE_LIMIT = 2_000
ROUND_LIMIT = 8_000

log = logging.get(__name__)


class Row(NamedTuple):
    """An event as the relay sees it."""

    slice: int
    pos: int
    seq: int
    recorded: Any
    subject: UUID
    id: UUID
    type: str
    value: bytes


class News(NamedTuple):
    """A slice whose tail is ahead of the relay's cursor."""

    slice: int
    cursor: int
    tail: int


class Leases:
    """The shares of one journal that this relay may move, by epoch."""

    def __init__(self, database: Database, owner: UUID, seconds: float = LEASE_SECONDS) -> None:
        self._database = database
        self._owner = owner
        self._seconds = seconds
        self._due = 0.0
        self.epochs: dict[int, int] = {}

    def keep(self) -> None:
        """Renew what is mine; take or give back, so that every living relay has its fair share. Cheap when not due."""
        if time.monotonic() < self._due:
            return
        ttl = {"owner": self._owner, "ttl": f"{self._seconds} seconds"}
        with self._database.transaction() as cur:
            cur.execute(_SQL["join_relays"], ttl)
            cur.execute(_SQL["relays_alive"], ttl)
            alive = cur.fetchone()
            cur.execute(_SQL["renew"], ttl)
            mine = dict(cur.fetchall())
            fair = -(-SHARES // max(1, alive[0] if alive else 1))
            if len(mine) < fair:
                cur.execute(_SQL["acquire"], {**ttl, "limit": fair - len(mine)})
                mine.update(cur.fetchall())
            elif len(mine) > fair:
                surplus = sorted(mine)[fair:]
                cur.execute(_SQL["release"], {"owner": self._owner, "shares": surplus})
                mine = {share: epoch for share, epoch in mine.items() if share not in surplus}
        self.epochs = mine
        self._due = time.monotonic() + self._seconds / 4

    def lost(self) -> None:
        """Something is not mine any more: look again at once."""
        self.epochs = {}
        self._due = 0.0

    def release(self) -> None:
        """Give everything back, so that others need not wait for the leases to run out."""
        with self._database.transaction() as cur:
            cur.execute(_SQL["release"], {"owner": self._owner, "shares": list(range(SHARES))})
            cur.execute(_SQL["leave_relays"], {"owner": self._owner})
        self.epochs = {}


class Pump:
    """One journal's pump: look, send, move the cursors."""

    def __init__(self, service: str, database: Database, topic: str, partitions: int, producer: Any) -> None:
        self.service = service
        self.leases = Leases(database, uuid4())
        self._database = database
        self._topic = topic
        self._partitions = partitions
        self._make_producer: Callable[[], Any] = producer
        self._producer: Any = None
        self._position: Any = None
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
        with self._database.session() as cur:  # looks need no transaction: one round trip each
            if self._nothing_moves(cur):
                return 0
            cur.execute(_SQL["news"], {"shares": list(self.leases.epochs)})
            news = [News(*row) for row in cur]
            if not news:
                return 0
            limit = max(1, min(SLICE_LIMIT, ROUND_LIMIT // len(news)))
            cursors = {"slices": [n.slice for n in news], "cursors": [n.cursor for n in news]}
            cur.execute(_SQL["fresh"], {**cursors, "limit": limit})
            rows = [Row(*row) for row in cur]
        acknowledged, broken, error = self._send(rows)
        read = Counter(row.slice for row in rows)
        # A slice that was read to its end is done up to its tail, which an append to several slices sets ahead.
        ended = {n.slice: n.tail for n in news if read[n.slice] < limit and n.slice not in broken}
        self._move(news, acknowledged, ended)
        if error is not None:
            self._drop_producer()
            raise SendFailed(f"{self.service}: Kafka did not acknowledge ({error}); sending again from the cursor")
        return len(acknowledged)

    def _nothing_moves(self, cur: psycopg.Cursor[Any]) -> bool:
        """Whether a look at all slices can wait: nobody has appended for a while. Much cheaper than the look.

        An append takes its positions before it commits, so for some seconds after each move every look is a full one,
        and whatever may be slower than that is found by the full look once a second.
        """
        cur.execute(_SQL["position"])
        row, now = cur.fetchone(), time.monotonic()
        if row != self._position:
            self._position, self._moving_until = row, now + MOVING_SECONDS
        if now > self._moving_until and now < self._full_look_at:
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
                future = self._producer.send(
                    self._topic,
                    key=row.subject.bytes,
                    value=row.value,
                    headers=headers_of(row.id, row.type, self.service, row.recorded),
                    partition=partition_of(row.slice, self._partitions),
                    timestamp_ms=int(row.recorded.timestamp() * 1000),
                )
                sent.append((row, future))
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
        slices = sorted(s for s, pos in upto.items() if pos > old[s])
        if not slices:
            return
        with self._database.transaction() as cur:
            cur.execute(
                _SQL["move_cursors"],
                {
                    "slices": slices,
                    "old": [old[s] for s in slices],
                    "new": [upto[s] for s in slices],
                    "shares": list(self.leases.epochs),
                    "epochs": list(self.leases.epochs.values()),
                },
            )
            moved = len(cur.fetchall())
        if moved < len(slices):
            log.warning("lease lost", service=self.service, count=len(slices) - moved)
            self.leases.lost()

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
        self._database.close()


class Relay:
    """Pumps for several journals, a thread each, so that none stalls the others."""

    def __init__(self, settings: Settings, services: Collection[str]) -> None:
        self._stop = threading.Event()
        self._news = {name: threading.Event() for name in services}
        self.pumps = {
            name: Pump(
                name,
                Database(settings.dsn_for(name, "relay"), size=1, name=name),
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
        shortest, longest = IDLE_SECONDS
        pause, failures, news = shortest, 0, self._news[pump.service]
        while not self._stop.is_set():
            try:
                sent = pump.step()
            except Exception as error:  # whatever it is: a pump that has ended in silence is the worst of all
                failures += 1
                expected = isinstance(error, psycopg.Error | KafkaError | EpicrisisError)
                say = log.warning if expected else log.error
                say("relay waits", service=pump.service, error=type(error).__name__, attempt=failures)
                if not expected:
                    pump.start_over()
                self._stop.wait(min(5.0, 0.1 * 2 ** min(failures, 6)))
                continue
            failures = 0
            if sent:
                log.debug("relayed", service=pump.service, count=sent)
                metrics.relayed(pump.service, sent)
                pause = shortest
            else:
                news.wait(pause)
                news.clear()
                pause = min(longest, pause * 2)
        try:
            pump.close()
        except Exception as error:
            log.error("relay not closed", service=pump.service, error=type(error).__name__)


def producer(settings: Settings) -> Any:
    """An idempotent producer that never makes a topic."""
    return KafkaProducer(
        **settings.kafka("relay"),
        client_id="epicrisis-relay",
        acks="all",
        enable_idempotence=True,
        allow_auto_create_topics=False,
        reconnect_backoff_max_ms=1_000,
        compression_type="zstd",
        batch_size=512 * 1024,
        linger_ms=1,
        max_request_size=MAX_RECORD,
        delivery_timeout_ms=60_000,
        request_timeout_ms=20_000,
    )
