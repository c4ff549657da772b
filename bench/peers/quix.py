"""quixstreams with its PostgreSQL sinks, as its documentation has it. Run by `bench.projection` in a venv of its own.

Subjects' states are in its state store (RocksDB with a changelog topic, both by default), keyed by the message key, so
that nothing has to be repartitioned; three sinks write the three tables, two of them upserting. At least once, which is
its default: a sink is not part of its transactions.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import orjson
from quixstreams import Application, State
from quixstreams.kafka.configuration import ConnectionConfig
from quixstreams.sinks.community.postgresql import PostgreSQLSink

from bench.peers.model import after, ready

EVERY, INTERVAL = 20_000, 0.5
"""A checkpoint after so many messages (2,000 to 100,000 make little difference), or so many seconds (its default of 5
would count idle seconds at the end)."""


def main() -> None:
    """Follow the topic until killed."""
    given = json.loads(sys.stdin.readline())
    kafka = given["kafka"]
    app = Application(
        broker_address=ConnectionConfig(
            bootstrap_servers=kafka["bootstrap.servers"],
            security_protocol=kafka["security.protocol"].lower(),
            sasl_mechanism=kafka.get("sasl.mechanism"),
            sasl_username=kafka.get("sasl.username"),
            sasl_password=kafka.get("sasl.password"),
        ),
        consumer_group=given["group"],
        auto_offset_reset="earliest",
        commit_every=EVERY,
        commit_interval=INTERVAL,
        state_dir=given["state"],
        loglevel="WARNING",
    )
    topic = app.topic(given["topic"], value_deserializer="json", key_deserializer="str")

    def sink(table: str, *key: str) -> PostgreSQLSink:
        return PostgreSQLSink(
            **given["postgres"],
            table_name=table,
            primary_key_columns=list(key),
            upsert_on_primary_key=True,
            include_metadata=False,
        )

    def fold(value: dict[str, Any], state: State) -> dict[str, Any]:
        kept = state.get("kept") or {"patient": None, "tally": {}}
        type_ = value["type"]
        kept["patient"] = after(kept["patient"], type_, value["effective"], value["facts"])
        kept["tally"][type_] = kept["tally"].get(type_, 0) + 1
        state.set("kept", kept)
        return {"subject": value["subject"], "type": type_, **kept}

    events = app.dataframe(topic)
    names = ("subject", "source", "seq", "type", "recorded")
    if given["archive"]:
        events.apply(
            lambda value: {**{name: value[name] for name in names}, "body": orjson.dumps(value).decode()}
        ).sink(sink("archive", "subject", "source", "seq"))
    folded = events.apply(fold, stateful=True)
    folded.apply(lambda value: {"subject": value["subject"], **value["patient"]}).sink(sink("patient", "subject"))
    folded.apply(
        lambda value: {"subject": value["subject"], "type": value["type"], "events": value["tally"][value["type"]]}
    ).sink(sink("tally", "subject", "type"))
    assigned = app._on_assign

    def on_assign(*given: Any) -> None:
        assigned(*given)
        ready()

    app._on_assign = on_assign
    app.run()


if __name__ == "__main__":
    main()
