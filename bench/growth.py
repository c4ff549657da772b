"""Cost per event as the data grow tenfold, twice: append, relay, worker, and the read of one patient.

An installation is filled to each size; then a probe of new events goes through journal, relay and worker, one after the
other and each alone on the machine, and one patient is read.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any
from uuid import UUID

from bench.events import Event, appends, events, keys_for, value_of
from bench.row import Row
from bench.stage import roles, stage
from epicrisis.assembly import history_of, journals, key_store, worker
from epicrisis.codec import KeyStore
from epicrisis.found import projection, services
from epicrisis.journal import PostgresJournal
from epicrisis.lag import Lag
from epicrisis.ledger import LEDGER
from epicrisis.readmodel import read
from epicrisis.relay import Relay
from epicrisis.settings import Settings

AT_MOST = 300
"""Seconds."""
SIZES, PROBE = (2_000, 20_000, 200_000), 2_000
CHUNK, TOGETHER, READS = 5_000, 20, 15
"""Events made at a time, subjects appended in one transaction, reads of one patient."""


def run(short: bool = False) -> Iterator[Row]:
    """Rows: per size and step µs per event; ms per read."""
    sizes, probe = ((100,), 100) if short else (SIZES, PROBE)
    with stage() as settings:
        source = events(max(sizes) + len(sizes) * probe)
        keys, books, lag = key_store(settings, "intake"), journals(settings, services()), Lag(settings)
        there = 0
        for size in sizes:
            with roles(settings, ("relay",), ("work",)):
                while there < size:
                    some = list(islice(source, min(CHUNK, size - there)))
                    _append(books, some, _values(some, keys))
                    there += len(some)
                lag.wait(AT_MOST, [LEDGER])
            some = list(islice(source, probe))
            values = _values(some, keys)
            steps: dict[str, Callable[[], Any]] = {
                "append": lambda some=some, values=values: _append(books, some, values),  # type: ignore[misc]
                "relay": lambda: _relay(settings),
                "worker": lambda: _work(settings, probe),
            }
            for name, step in steps.items():
                took = step()
                yield _row(f"{name}, {size:,} events there", 1e6 * took / probe, "µs/event", name, size)
            there += probe
            subject = some[0].meta.subject
            yield _row(f"roster row, {size:,} events there", _roster(settings, subject), "ms", "roster row", size)
            yield _row(f"whole history, {size:,} events there", _history(settings, subject), "ms", "history", size)
        keys.close()
        lag.close()


def _row(row: str, value: float, unit: str, series: str, at: int) -> Row:
    return {"row": row, "value": value, "unit": unit, "series": series, "at": at, "at_unit": "events there"}


def _values(some: Sequence[Event], store: KeyStore) -> list[bytes]:
    keys = keys_for(some, store)
    return [value_of(event, keys) for event in some]


def _append(books: dict[str, PostgresJournal], some: Sequence[Event], values: Sequence[bytes]) -> float:
    """Each subject's events together, some subjects in a transaction, as an import does. Seconds."""
    by_service = appends(some, values)
    began = time.perf_counter()
    for name, wanted in by_service.items():
        for at in range(0, len(wanted), TOGETHER):
            books[name].append(wanted[at : at + TOGETHER])
    return time.perf_counter() - began


def _relay(settings: Settings) -> float:
    """All that is new, service by service. Seconds."""
    pumps = Relay(settings, list(services())).pumps.values()
    for pump in pumps:  # connected and with its leases, as a relay that runs
        pump.leases.keep()
        pump._producer = pump._make_producer()
    began = time.perf_counter()
    for pump in pumps:
        while pump.step():
            pass
    took = time.perf_counter() - began
    for pump in pumps:
        pump.close()
    return took


def _work(settings: Settings, number: int) -> float:
    """So many events into every read model and the ledger. Seconds, from the first batch that was polled on."""
    made, applied, began = worker(settings), 0, 0.0
    enough = threading.Event()
    read_batch = made._read

    def first(records: Sequence[Any]) -> Any:
        nonlocal began
        began = began or time.perf_counter()
        return read_batch(records)

    def done(events: int) -> None:
        nonlocal applied
        applied += events
        if applied >= number:
            enough.set()

    made._read, made._on_batch = first, done  # type: ignore[method-assign]
    thread = threading.Thread(target=made.run, name="worker", daemon=True)
    thread.start()
    assert enough.wait(60), f"only {applied} of {number} events applied"
    took = time.perf_counter() - began
    made.stop()
    thread.join()
    return took


def _roster(settings: Settings, subject: UUID) -> float:
    """Milliseconds, connecting included: that is how `epicrisis.readmodel` reads today."""
    patients = projection("clinic_patients")
    table = next(table for table in patients.tables.values() if table.shared)
    return _milliseconds(lambda: read(settings, patients, table=table, where={"subject": str(subject)}))


def _history(settings: Settings, subject: UUID) -> float:
    """Milliseconds, connecting included: that is how `epicrisis replay` reads today."""
    return _milliseconds(lambda: history_of(settings, subject))


def _milliseconds(work: Callable[[], Any]) -> float:
    took = []
    for _ in range(READS):
        began = time.perf_counter()
        work()
        took.append(time.perf_counter() - began)
    return 1e3 * statistics.median(took)
