"""Figures for Prometheus: how much went through, and when last. Labels name services, consumers, operators and doors,
never a patient.

Counted once a batch. `serve` shows them at ``/metrics``, the other roles where they are given ``--metrics-port``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from functools import partial

from prometheus_client import REGISTRY, CollectorRegistry, Counter, start_http_server
from prometheus_client import Gauge as AnyGauge
from prometheus_client.multiprocess import MultiProcessCollector

from epicrisis.errors import SettingsError

Gauge = partial(AnyGauge, multiprocess_mode="mostrecent")

RELAYED = Counter("epicrisis_relayed_events", "Events that Kafka has acknowledged", ["service"])
APPLIED = Counter("epicrisis_applied_events", "Events read and committed, per set of consumers", ["consumers"])
PARKED = Counter("epicrisis_parked_subjects", "How often a subject was parked or waited on", ["consumer"])
SET_ASIDE = Counter("epicrisis_records_set_aside", "Records that belong to no subject", ["reason"])
QUARANTINED = Counter("epicrisis_quarantined_messages", "Messages refused and kept", ["operator", "door"])
ANSWERED = Counter("epicrisis_inbox_messages", "Messages of Kafka inboxes that were answered", ["operator", "outcome"])
ACKNOWLEDGED = Counter("epicrisis_hl7v2_messages", "HL7 v2 messages that were answered", ["operator", "code"])
LAST_CHECKPOINT = Gauge("epicrisis_last_checkpoint_timestamp_seconds", "When the last one was", ["state"])
WITNESSES = Gauge("epicrisis_witnesses_missing", "Witnesses that did not cosign the last checkpoint", ["why"])
LAST_BATCH = Gauge("epicrisis_last_batch_timestamp_seconds", "When the last batch was committed", ["of"])


def checkpoint(trusted: bool, silent: int, refused: int) -> None:
    """A checkpoint was made; so many witnesses did not cosign it, or refuse to."""
    LAST_CHECKPOINT.labels("signed").set_to_current_time()
    if trusted:
        LAST_CHECKPOINT.labels("trusted").set_to_current_time()
    WITNESSES.labels("silent").set(silent)
    WITNESSES.labels("refused").set(refused)


def relayed(service: str, events: int) -> None:
    """A round of the relay was acknowledged."""
    RELAYED.labels(service).inc(events)
    LAST_BATCH.labels(service).set_to_current_time()


def applied(consumers: str, events: int, parked: Mapping[str, int], set_aside: Iterable[str]) -> None:
    """A worker's batch was committed. ``set_aside`` holds the reason of each record that was."""
    APPLIED.labels(consumers).inc(events)
    LAST_BATCH.labels(consumers).set_to_current_time()
    for consumer, count in parked.items():
        PARKED.labels(consumer).inc(count)
    for reason in set_aside:
        SET_ASIDE.labels(reason).inc()


def answered(operator: str, taken_in: bool) -> None:
    """The reply to a message of a Kafka inbox was acknowledged."""
    ANSWERED.labels(operator, "accepted" if taken_in else "refused").inc()


def quarantined(operator: str, door: str) -> None:
    """A door's refused message was kept."""
    QUARANTINED.labels(operator, door).inc()


def acknowledged(operator: str, code: str) -> None:
    """An HL7 v2 message was answered: AA, AE or AR; the operator of an unknown sender is empty."""
    ACKNOWLEDGED.labels(operator, code).inc()


def counted() -> CollectorRegistry:
    """What this process has counted; where several answer together, what all of them have."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return REGISTRY
    together = CollectorRegistry()
    MultiProcessCollector(together)  # type: ignore[no-untyped-call]
    return together


def listen(host: str, port: int) -> int:
    """Answer GET ``/metrics`` from a thread; returns the port (of 0: the one that was free).

    Raises
    ------
    SettingsError
        Somebody else has the port, or there is no such host.
    """
    try:
        server, _ = start_http_server(port, addr=host, registry=counted())
    except OSError as error:
        raise SettingsError(
            f"cannot listen at {host}:{port} ({type(error).__name__}): name another --metrics-port or --metrics-host"
        ) from None
    return int(server.server_port)
