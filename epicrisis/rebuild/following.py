"""Following the log for new generations, in this process, while the workers go on with the live ones."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import psycopg
from kafka import TopicPartition

from epicrisis.assembly import codec, key_store, missing
from epicrisis.database import Database
from epicrisis.projecting.decoding import Decoder
from epicrisis.projecting.follower import ProjectionFollower
from epicrisis.projecting.postgres import PostgresStore
from epicrisis.projection import Projection
from epicrisis.settings import Settings
from epicrisis.sql import queries
from epicrisis.worker import Worker, kafka_consumer

_SQL = queries("epicrisis.rebuild")


class Following:
    """A worker of our own for these generations, in a group of its own."""

    def __init__(self, settings: Settings, generations: Sequence[Projection]) -> None:
        followers = [ProjectionFollower(generation) for generation in generations]
        self._names = [follower.name for follower in followers]
        self._database = Database(settings.dsn_for("cluster", "worker"), size=2, name="cluster")
        self._keys = key_store(settings, "worker")
        self._worker = Worker(
            settings,
            followers,
            store=PostgresStore(self._database),
            decoder=Decoder(codec(), self._keys, followers),
            missing=missing(settings),
            group=f"rebuild.{sha256(' '.join(sorted(self._names)).encode()).hexdigest()[:8]}",
        )
        self._topic = settings.topic()
        self._log = kafka_consumer(settings, "rebuild")
        self._thread = threading.Thread(target=self._run, name="following", daemon=True)
        self._error: BaseException | None = None
        self._started = False

    def _run(self) -> None:
        try:
            self._worker.run()
        except BaseException as error:
            self._error = error

    def start(self) -> None:
        """Begin to follow; until then it only looks how far behind they are."""
        self._thread.start()
        self._started = True

    def behind(self) -> int:
        """How many records of the log the last of them has not applied yet.

        Raises whatever has ended the worker.
        """
        if self._error is not None:
            raise self._error
        places = [TopicPartition(self._topic, p) for p in self._log.partitions_for_topic(self._topic) or ()]
        ends: dict[int, int] = {place.partition: end for place, end in self._log.end_offsets(places).items()}
        with self._database.transaction() as cur:
            at = offsets(cur, self._names)
        return max(sum(max(0, end - at[name].get(p, 0)) for p, end in ends.items()) for name in self._names)

    def close(self) -> None:
        """Finish the batch, and leave."""
        self._worker.stop()
        if self._started:
            self._thread.join()
        self._log.close(autocommit=False)
        self._keys.close()
        self._database.close()


def offsets(cur: psycopg.Cursor[Any], consumers: Sequence[str]) -> dict[str, dict[int, int]]:
    """Where each of these consumers reads on, by partition."""
    found: dict[str, dict[int, int]] = {consumer: {} for consumer in consumers}
    cur.execute(_SQL["offsets"], {"consumers": list(consumers)})
    for consumer, partition, next_offset in cur:
        found[consumer][partition] = next_offset
    return found
