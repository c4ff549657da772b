"""Reading over HTTP, on real servers: what is said where something is missing, or does not work."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from epicrisis.doors.fhir_http.capability import TYPE
from epicrisis.doors.fhir_http.query import accepted
from epicrisis.doors.fhir_http.written import Written
from epicrisis.handing import listening
from tests.fuzz.http import fuzz
from tests.integration.fhir_reading.clinics import BASE, HERE, Site, name, sent
from tests.kernel_support import observation, patient, wait_until

pytestmark = pytest.mark.servers


# What is missing is said


def test_what_waits_before_the_chart_is_said(site: Site) -> None:
    subject = site.subject("p3")
    (schema,) = site.admin("SELECT schema FROM projection.generation WHERE projection = 'cluster_chart'")[0]
    site.admin(
        'INSERT INTO projection.parked (consumer, subject, partition, "offset", source, seq, reason, value)'
        " VALUES (%s, %s, 0, 0, 'chart', 99, 'test', '')",
        schema,
        subject,
    )
    try:
        assert "wait to be applied" in site.ask("Observation/x3").headers["warning"]
        for path in ("Observation?patient=p3", "Patient/p3/$everything"):
            outcome = site.get(path)["entry"][-1]["resource"]
            assert [i["code"] for i in outcome["issue"]] == ["incomplete"]
        for path in ("_history?patient=p3", "Condition/c3/_history", "Condition/_history"):
            history = site.ask(path)
            assert "wait to be applied" in history.headers["warning"]
            assert all("search" not in e and "request" in e for e in history.json()["entry"]), "bdl-2 and bdl-3"
    finally:

        def freed() -> bool:
            """These reads are events of the patient, too, and wait behind the planted one once they are applied."""
            site.running.wait()
            return not site.admin("DELETE FROM projection.parked WHERE subject = %s RETURNING 1", subject)

        wait_until(freed, "nothing waits before the chart")
        assert "warning" not in site.ask("Observation/x3").headers


def test_an_erased_patients_record_is_gone_and_left_out_aloud(site: Site) -> None:
    subject = site.subject("p2")
    with psycopg.connect(site.settings.admin_dsn(site.settings.database("keys")), autocommit=True) as connection:
        connection.execute("UPDATE keys.data_key SET wrapped = NULL, destroyed = now() WHERE subject = %s", (subject,))
    later = Site(site.settings, site.running)  # another process: keys are kept in memory for a while
    assert later.ask("Patient/p2").status_code == 410
    entries = later.get("Patient/p2/$everything")["entry"]
    assert [e["search"]["mode"] for e in entries] == ["outcome"]
    found = {name(e["resource"]) for e in later.get("Patient")["entry"]}
    assert found - {"Written"} == {"von Müller", "Mistaken", "OperationOutcome"}


def test_a_client_reads_what_it_has_just_written(site: Site) -> None:
    for number in range(5):
        raw = sent(patient("w", family="Written"), observation(f"w{number}", number, to="Patient/w"))
        receipt = site.running.send(raw, clinic=HERE)
        site.written.note("here", receipt.entries)
        assert site.get(f"Observation/w{number}")["valueQuantity"]["value"] == number


def test_what_cannot_be_read_yet_is_not_said_to_be_absent(site: Site) -> None:
    with stopped_clock(site.written):
        for path, status in (("Observation/nothing", 503), ("Observation/o1", 200), ("Observation?patient=p1", 200)):
            site.written.note("here", [outcome_of(UUID(int=7))])
            answer = site.ask(path)
            assert answer.status_code == status
            assert "cannot be read yet" in answer.text + answer.headers.get("warning", "")
    assert site.ask("Observation/nothing").status_code == 404


def outcome_of(id_: UUID) -> Any:
    from epicrisis.intake.receipt import Outcome

    return Outcome("Observation", str(id_), 1, "created")


@contextmanager
def stopped_clock(written: Written) -> Iterator[None]:
    """Waits take no time."""
    now = [0.0]

    def pause(seconds: float) -> None:
        now[0] += 1

    clock, before = written._clock, written._pause
    written._clock, written._pause = lambda: now[0], pause
    try:
        yield
    finally:
        written._clock, written._pause = clock, before


def test_a_chart_of_an_earlier_release_is_said_to_be_rebuilt_first(site: Site) -> None:
    site.admin("ALTER VIEW read.cluster_chart_seen RENAME TO cluster_chart_away")
    try:
        for path in ("Observation/o1", "Observation?patient=p1", "Patient/p1/$everything"):
            answer = site.ask(path)
            assert answer.status_code == 503
            assert "epicrisis rebuild cluster_chart" in answer.text
    finally:
        site.admin("ALTER VIEW read.cluster_chart_away RENAME TO cluster_chart_seen")
    assert site.ask("Observation/o1").status_code == 200


def test_an_answer_does_not_wait_for_the_one_who_asked() -> None:
    with listening("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        accepted_one, _ = listener.accept()
        with accepted_one:
            assert accepted_one.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


# What works, and what does not


def test_metadata_is_true(site: Site) -> None:
    (rest,) = site.client.get("/fhir/metadata").json()["rest"]
    routed = {(one.method, one.path) for one in site.interactions}
    for resource in rest["resource"]:
        said = {interaction["code"] for interaction in resource["interaction"]}
        assert said == {code for route, code in TYPE.items() if route in routed}
        known = {p["name"] for p in resource["searchParam"]}
        assert known == set(accepted(resource["type"]))
    strict = {"Prefer": "handling=strict"}
    for path in ("Observation", "Patient/p1/$everything", "Observation/_history", "Observation/o1/_history"):
        assert site.ask(f"{path}?banana=1", **strict).status_code == 400
        answer = site.ask(f"{path}?banana=1")
        if path.endswith("_history"):
            assert "was left out" in answer.headers["warning"]
        else:
            assert answer.json()["entry"][-1]["search"]["mode"] == "outcome"
        assert answer.json()["link"][0] == {"relation": "self", "url": f"{BASE}/{path}"}
    outcome = site.get("Observation?patient=p1&banana=1")["entry"][-1]
    assert outcome["search"]["mode"] == "outcome"
    assert outcome["resource"]["issue"][0]["severity"] == "warning"


def test_metadata_is_a_capability_statement(site: Site) -> None:
    from fhir.resources.R4B.capabilitystatement import CapabilityStatement

    CapabilityStatement.model_validate_json(site.client.get("/fhir/metadata").content)


PIECES = st.sampled_from(
    (
        "patient code date _id identifier encounter _sort _count _include _since _type name _page _lastUpdated "
        "birthdate = & | , : %00 %ff - . ge 2026-01-01 1971 p1 * $ \\ ' {} %s é + 9999-12-31 _total=accurate "
        "0001-01-01T00:00:00+14:00"
    ).split()
)
PATHS = (
    "Observation Patient Organization Patient/p1/$everything Observation/_history _history Observation/o1/_history "
    "Patient/p1/Condition Observation/%00 Patient/p1/_history/1"
).split()


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(path=st.sampled_from(PATHS), pieces=st.lists(PIECES, max_size=8))
def test_no_address_makes_the_server_fail(site: Site, path: str, pieces: list[str]) -> None:
    answer = site.ask(f"{path}?{''.join(pieces)}")
    assert answer.status_code < 500, answer.text
    assert answer.json()["resourceType"] in ("Bundle", "OperationOutcome", "Patient")


def test_a_short_fuzz_of_reading_finds_no_500_and_every_error_is_an_operation_outcome(site: Site) -> None:
    assert fuzz(site.app, "Bearer here", 2) == len(site.interactions) - 1
