"""How far behind the relay and the workers are: journal → log → read models."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from kafka import TopicPartition

from epicrisis.assembly import followed
from epicrisis.database import Database
from epicrisis.errors import EpicrisisError
from epicrisis.found import services
from epicrisis.journal.outgoing import SHARES
from epicrisis.settings import Settings
from epicrisis.sql import queries


class Lag:
    """Looks at journals and offsets, on connections of its own."""

    def __init__(self, settings: Settings) -> None:
        from epicrisis.worker import kafka_consumer

        self._topic = settings.topic()
        self._journals = {n: Database(settings.dsn_for(n, "relay"), size=1, name=n) for n in services()}
        self._cluster = Database(settings.dsn_for("cluster", "auditor"), size=1, name="cluster")
        self._kafka = kafka_consumer(settings, "lag")

    def relay(self) -> dict[str, int]:
        """Per service how many slices have news that is not on the log yet."""
        behind: dict[str, int] = {}
        for name, database in self._journals.items():
            with database.transaction() as cur:
                cur.execute(queries("epicrisis.journal")["news"], {"shares": list(range(SHARES))})
                behind[name] = len(cur.fetchall())
        return behind

    def current(self) -> list[str]:
        """The consumers that workers of this release follow the log for."""
        with self._cluster.transaction() as cur:
            return [consumer.name for consumer in followed(cur)]

    def consumers(self) -> dict[str, int]:
        """Per consumer that has begun how many records of the log it has not applied yet.

        Generations that workers of this release do not follow are left out.
        """
        ends, behind = self._ends(), dict[str, int]()
        current = self.current()
        with self._cluster.transaction() as cur:
            cur.execute(queries("epicrisis.projecting")["lag"])
            for consumer, partition, next_offset, _ in cur:
                if consumer in current:
                    behind[consumer] = behind.get(consumer, 0) + max(0, ends.get(partition, 0) - next_offset)
        return behind

    def building(self) -> dict[str, int]:
        """Per generation that a rebuild is filling how many parts of the ledger it lacks."""
        with self._cluster.transaction() as cur:
            return dict(cur.execute(queries("epicrisis.projecting")["parts_left"]).fetchall())

    def records(self) -> int:
        """How many records the log has: what a consumer that has not begun is behind."""
        return sum(self._ends().values())

    def _ends(self) -> dict[int, int]:
        places = [TopicPartition(self._topic, p) for p in self._kafka.partitions_for_topic(self._topic) or ()]
        return {place.partition: end for place, end in self._kafka.end_offsets(places).items()}

    def wait(self, seconds: float = 60.0, consumers: Iterable[str] = ()) -> None:
        """Wait until everything is relayed and these consumers (default: all known) have applied it.

        Raises
        ------
        EpicrisisError
            It took longer.
        """
        wanted = set(consumers)
        deadline = time.monotonic() + seconds
        while True:
            relay, behind = self.relay(), self.consumers()
            if behind and wanted <= behind.keys() and not any((*relay.values(), *behind.values())):
                return
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)
        late = ", ".join(f"{name} {n}" for name, n in {**relay, **behind}.items() if n)
        raise EpicrisisError(
            f"still behind after {seconds:.0f} s ({late or 'nobody follows'}): "
            "is there a relay and a worker? See their logs"
        )

    def close(self) -> None:
        """Give the connections back."""
        things: list[Any] = [*self._journals.values(), self._cluster]
        for database in things:
            database.close()
        self._kafka.close()
