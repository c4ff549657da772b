"""A plain consumer: confluent-kafka, orjson, psycopg's executemany (which pipelines). Run by `bench.projection`.

Per batch one transaction: what the batch touches is folded in memory, then three statements, each with executemany;
then the offsets are committed to Kafka. A crash in between doubles the counts: nobody has made this exact.
"""

from __future__ import annotations

import json
import sys

import orjson
import psycopg
from confluent_kafka import Consumer

from bench.peers.model import NEW, State, after, ready

BATCH = 4_000  # as many as our worker takes
ARCHIVE = "INSERT INTO archive VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING"
COLUMNS = "subject, events, name, birth_date, last_type, last_code, last_at"
LOAD = f"SELECT subject::text, {COLUMNS.partition(', ')[2]} FROM patient WHERE subject = ANY(%s)"
SAVE = (
    f"INSERT INTO patient ({COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT (subject) DO UPDATE SET "
    + ", ".join(f"{name} = EXCLUDED.{name}" for name in COLUMNS.split(", ")[1:])
)
COUNT = (
    "INSERT INTO tally VALUES (%s, %s, %s) "
    "ON CONFLICT (subject, type) DO UPDATE SET events = tally.events + EXCLUDED.events"
)


def main() -> None:
    """Follow the topic until killed."""
    given = json.loads(sys.stdin.readline())
    consumer = Consumer(
        {
            **given["kafka"],
            "group.id": given["group"],
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([given["topic"]], on_assign=lambda *_: ready())
    with psycopg.connect(given["dsn"]) as connection, connection.cursor() as cur:
        while True:
            messages = [m for m in consumer.consume(BATCH, 0.1) if m.error() is None]
            if not messages:
                continue
            values = [orjson.loads(m.value()) for m in messages]
            subjects = list({v["subject"] for v in values})
            cur.execute(LOAD, (subjects,))
            states: dict[str, State] = {row[0]: dict(zip(NEW, row[1:], strict=True)) for row in cur}
            counts: dict[tuple[str, str], int] = {}
            for v in values:
                states[v["subject"]] = after(states.get(v["subject"]), v["type"], v["effective"], v["facts"])
                counts[v["subject"], v["type"]] = counts.get((v["subject"], v["type"]), 0) + 1
            if given["archive"]:
                rows = zip(values, messages, strict=True)
                cur.executemany(
                    ARCHIVE,
                    [
                        (v["subject"], v["source"], v["seq"], v["type"], v["recorded"], m.value().decode())
                        for v, m in rows
                    ],
                )
            cur.executemany(SAVE, [(subject, *state.values()) for subject, state in states.items()])
            cur.executemany(COUNT, [(*key, n) for key, n in counts.items()])
            connection.commit()
            consumer.commit(asynchronous=False)


if __name__ == "__main__":
    main()
