"""The simulated cluster sends what it says it sends."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import orjson
import pytest
from fhir.resources.R4B import get_fhir_model_class

from epicrisis.fhir.gate import Gate
from epicrisis.fhir.values import instant
from epicrisis.simulate import Message, messages
from epicrisis.simulate.run import BEGIN, live
from epicrisis.simulate.world import world

ROOT = Path(__file__).parents[3]
DIGEST = """
import hashlib
from epicrisis.simulate import messages
print(hashlib.sha256(b"".join(m.bundle for m in messages(25, 4, mistakes=True))).hexdigest())
"""


@cache
def sample() -> list[Message]:
    return list(messages(120, 1))


def test_the_same_seed_gives_the_same_bytes_in_every_process() -> None:
    found = {
        subprocess.run(
            [sys.executable, "-c", DIGEST],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    here = hashlib.sha256(b"".join(m.bundle for m in messages(25, 4, mistakes=True))).hexdigest()
    assert found == {here}


def test_another_seed_gives_another_life() -> None:
    assert [m.bundle for m in messages(3, 1)] != [m.bundle for m in messages(3, 2)]


def test_a_patient_is_the_same_however_many_there_are() -> None:
    few = {m.bundle for m in messages(5, 1)}
    assert few <= {m.bundle for m in messages(9, 1)}


def test_every_message_passes_the_gate() -> None:
    gate = Gate()
    for message in sample():
        gate.check(message.bundle)


def test_a_sample_is_valid_by_the_models_of_fhir_resources() -> None:
    bundle = get_fhir_model_class("Bundle")
    for message in sample()[::12]:
        bundle.model_validate_json(message.bundle)


def test_there_are_fifteen_operators_in_six_countries_and_each_sends() -> None:
    sites = world(1).sites
    assert len({site.operator for site in sites}) == 15
    assert len({site.country.code for site in sites}) == 6
    assert {m.operator for m in sample()} == {site.operator for site in sites}


def test_a_bundle_says_which_clinic_sends_it() -> None:
    for message in sample():
        source = orjson.loads(message.bundle)["meta"]["source"]
        assert source == f"urn:epicrisis:clinic:{message.clinic}"
        assert message.clinic.split("/")[0] == message.operator


def test_the_directory_comes_first_and_every_patient_is_in_order_of_sending() -> None:
    sent = [m.sent for m in sample()]
    assert sent == sorted(sent)
    assert all(m.name.startswith("directory-") == (m.sent < BEGIN) for m in sample())


def test_patients_have_an_average_of_25_to_60_resources() -> None:
    count = sum(len(m.resource_types) for m in sample() if m.sent >= BEGIN)
    assert 25 <= count / 120 <= 60


def test_decimals_keep_their_zeros() -> None:
    assert any(b'"value":1.10,' in m.bundle for m in sample())


def test_some_messages_are_sent_twice_some_late_some_corrected() -> None:
    counts = Counter(m.bundle for m in sample())
    names = Counter(m.name.rsplit("-", 1)[0] for m in sample())
    assert max(counts.values()) == 2
    assert names["late-result"]
    assert names["corrected-result"]
    assert any(m.sent - BEGIN for m in sample())


def test_every_pathway_happens() -> None:
    names = {m.name.rsplit("-", 1)[0] for m in messages(400, 1)}
    assert names >= {
        "second-opinion-given", "referral-declined", "referral-withdrawn", "transfer-cancelled", "moved", "surgery-end",
        "chemotherapy-end", "radiotherapy-end", "rehabilitation-end", "remission", "ruled-out", "patient",
        "mistaken-allergy",
    }  # fmt: skip


def test_a_withdrawal_says_when_it_was() -> None:
    """Else it would be true when it arrives, and the referral would have waited until then."""
    withdrawn = next(m for m in messages(400, 1) if m.name.startswith("referral-withdrawn"))
    (request,) = (entry["resource"] for entry in orjson.loads(withdrawn.bundle)["entry"])
    assert instant(request["authoredOn"]) < instant(request["meta"]["lastUpdated"]) <= withdrawn.sent


@pytest.mark.parametrize("promised", [True, False])
def test_the_promise_holds_for_some_and_fails_for_some(promised: bool) -> None:
    cluster = world(1)
    found = 0
    for number in range(1, 120):
        sent = {m.name.rsplit("-", 1)[0]: m.sent for m in reversed(live(cluster, 1, number).messages)}
        if "referral" in sent and "diagnosis" in sent and "suspicion" in sent:
            fast = (sent["diagnosis"] - sent["suspicion"]).total_seconds() < 2 * 86_400
            found += (fast and (sent["referral"] - sent["diagnosis"]).total_seconds() < 86_400) == promised
    assert found


def test_mistakes_are_marked_and_change_no_other_message() -> None:
    right, wrong = list(messages(60, 1)), list(messages(60, 1, mistakes=True))
    assert {m.bundle for m in right} <= {m.bundle for m in wrong if not m.expect_refused}
    assert sum(m.expect_refused for m in wrong) == 6
    assert not any(m.expect_refused for m in right)
