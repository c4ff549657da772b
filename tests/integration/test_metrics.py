"""Figures for Prometheus: counted once a batch, without a label that names a patient."""

from __future__ import annotations

import urllib.request

import pytest
from prometheus_client import REGISTRY

from epicrisis import metrics
from epicrisis.errors import SettingsError

LABELS = {"service", "consumers", "consumer", "reason", "of", "operator", "door", "outcome", "code", "state", "why"}


def test_what_was_counted_is_answered_to_prometheus() -> None:
    metrics.relayed("m_chart", 3)
    metrics.relayed("m_chart", 4)
    metrics.applied("m_worker", 7, {"m_ledger": 1}, ["m_garbage", "m_garbage"])
    port = metrics.listen("127.0.0.1", 0)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    assert 'epicrisis_relayed_events_total{service="m_chart"} 7.0' in lines
    assert 'epicrisis_applied_events_total{consumers="m_worker"} 7.0' in lines
    assert 'epicrisis_parked_subjects_total{consumer="m_ledger"} 1.0' in lines
    assert 'epicrisis_records_set_aside_total{reason="m_garbage"} 2.0' in lines
    assert any(line.startswith('epicrisis_last_batch_timestamp_seconds{of="m_worker"}') for line in lines)


def test_no_label_names_a_patient() -> None:
    ours = [metric for metric in REGISTRY.collect() if metric.name.startswith("epicrisis_")]
    assert len(ours) >= 5
    assert {label for metric in ours for sample in metric.samples for label in sample.labels} <= LABELS


def test_a_port_that_somebody_else_has_is_named() -> None:
    port = metrics.listen("127.0.0.1", 0)
    with pytest.raises(SettingsError, match=f"127.0.0.1:{port}"):
        metrics.listen("127.0.0.1", port)
