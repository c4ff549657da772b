"""The read model that everybody builds in the projection benchmark. It imports nothing of ours: peers can have it.

Three tables: every event as it came (`archive`); the latest state of each subject, folded over its events (`patient`);
how many events of each type a subject has (`tally`).
"""

from __future__ import annotations

import sys
from typing import Any

State = dict[str, Any]
"""A row of ``patient``: events, name, birth_date, last_type, last_code, last_at."""

NEW: State = {"events": 0, "name": "", "birth_date": "", "last_type": "", "last_code": "", "last_at": ""}


def after(state: State | None, type: str, at: str, facts: dict[str, Any]) -> State:
    """The state after one more event. ``at`` is when it was true, ``facts`` what its body says beside the resource."""
    state = dict(state or NEW)
    state["events"] += 1
    state["last_type"], state["last_at"] = type, at
    if "family" in facts:
        state["name"], state["birth_date"] = f"{facts['family']}, {facts['given']}", facts["birth_date"]
    if "code" in facts:
        state["last_code"] = facts["code"]["code"]
    return state


TABLES = """
CREATE TABLE archive (
    subject uuid, source text, seq bigint, type text, recorded text, body text, PRIMARY KEY (subject, source, seq)
);
CREATE TABLE patient (
    subject uuid PRIMARY KEY, events bigint, name text, birth_date text, last_type text, last_code text, last_at text
);
CREATE TABLE tally (subject uuid, type text, events bigint, PRIMARY KEY (subject, type));
"""
"""The tables of the peer that has no way of its own to make them."""


_ready: list[bool] = []


def ready() -> None:
    """Say that the partitions are there, and wait until everybody's are. Only the first time."""
    if not _ready:
        _ready.append(True)
        print("ready", flush=True)
        sys.stdin.readline()
