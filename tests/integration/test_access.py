"""The access audit on real servers: nothing leaves before it is recorded; glasses are broken, and reviewed."""

from __future__ import annotations

import csv
import importlib
import io
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from joserfc.jwk import ECKey
from starlette.testclient import TestClient
from typer.testing import CliRunner, Result

from epicrisis.access.api import ACCESS, Caller, subject_of
from epicrisis.access.seen import delivered, glasses, log
from epicrisis.assembly import codec, key_store
from epicrisis.audit.assembled import checkpoints, recounted
from epicrisis.audit.verifier.history import Head
from epicrisis.cli.app import COMMAND_MODULES, app
from epicrisis.database import Database
from epicrisis.doors.fhir_http import assembled
from epicrisis.doors.fhir_http.client import assertion, form
from epicrisis.doors.fhir_http.limits import Allowance, Room
from epicrisis.journal import PostgresJournal, Unnumbered
from epicrisis.settings import Settings
from tests import balp
from tests.acceptance.test_readme import environment_of
from tests.kernel_support import Pipeline, bundle, condition, observation, own_namespace, patient, wait_until

pytestmark = pytest.mark.servers
BASE = "http://testserver/fhir"
KEY = ECKey.generate_key("P-384", {"alg": "ES384", "use": "sig"}, auto_kid=True)
MANIFEST = """\
title = "Charité"
country = "DE"
clinics = ["gyn", "eye"]
[[client]]
id = "gyn"
clinic = "gyn"
scopes = ["system/*.cruds"]
jwks = "keys.json"
[[client]]
id = "eye"
clinic = "eye"
scopes = ["system/Patient.rs", "system/Observation.rs"]
jwks = "keys.json"
"""


class Site:
    """A cluster in this process, and its clients."""

    def __init__(self, cluster: Settings, running: Pipeline) -> None:
        self.settings, self.running = cluster, running
        self.door = assembled.door(cluster, base=BASE)
        self.door.room = Room(Allowance(client=256, all=256))
        self.client = TestClient(self.door.app(), raise_server_exceptions=False)
        self.tokens = {who: self.token(who)["access_token"] for who in ("gyn", "eye")}

    def token(self, who: str, **extensions: Any) -> dict[str, Any]:
        signed = assertion(who, KEY, f"{BASE}/auth/token", extensions=extensions or None)
        answer = self.client.post("/fhir/auth/token", data=form(signed, "system/*.cruds"))
        found: dict[str, Any] = answer.json() | {"status": answer.status_code}
        return found

    def ask(self, path: str, who: str = "gyn", *, token: str = "", method: str = "GET", **more: Any) -> Any:
        headers = {"Authorization": f"Bearer {token or self.tokens[who]}", **more.pop("headers", {})}
        return self.client.request(method, f"/fhir/{path}", headers=headers, **more)

    def subject(self, own_id: str) -> UUID:
        return UUID(self.ask(f"Patient/{own_id}").json()["id"])

    def events(self, subject: UUID) -> list[Any]:
        """What the journal has of who looked at a subject, as bodies; at once, not behind Kafka."""
        keys = key_store(self.settings, ACCESS)
        journal = PostgresJournal(ACCESS, Database(self.settings.dsn_for(ACCESS, ACCESS), size=1))
        opened = [codec().open(value) for value in journal.after(subject, 1, 100_000)]
        known = keys.by_ids({one.meta.key for one in opened if one.meta.key})
        return [codec().unseal(one, known[one.meta.key]) for one in opened if one.meta.key]

    def new(self, subject: UUID, do: Callable[[], Any]) -> list[Any]:
        """What is recorded of a subject by what is done."""
        before = len(self.events(subject))
        do()
        return self.events(subject)[before:]

    def admin(self, query: str, database: str = ACCESS) -> None:
        dsn = self.settings.admin_dsn(self.settings.database(database))
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(query)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def site(servers: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("operators")
    (folder / "charite").mkdir()
    (folder / "charite" / "manifest.toml").write_text(MANIFEST)
    (folder / "charite" / "keys.json").write_text(json.dumps({"keys": [KEY.as_dict(private=False)]}))
    with own_namespace(servers | {"operators": folder}) as cluster, Pipeline(cluster) as running:
        for own_id in ("p1", "p2"):
            to = f"Patient/{own_id}"
            some = [observation(f"o-{own_id}-{n}", n, to=to) for n in range(3)]
            running.send(bundle(patient(own_id, number=f"n-{own_id}"), condition(f"c-{own_id}", to=to), *some))
        running.wait()
        yield Site(cluster, running)


EYE = Caller(operator="charite", clinic="charite/eye", client="eye")


def test_every_kind_of_reading_leaves_an_audit_event_in_the_shape_of_its_profile(site: Site) -> None:
    ada = site.subject("p1")
    asked = {
        "read": f"Patient/{ada}",
        "vread": "Observation/o-p1-0/_history/1",
        "history-instance": "Observation/o-p1-0/_history",
        "search-type": f"Observation?patient={ada}",
        "$everything": f"Patient/{ada}/$everything",
        "history-system": f"_history?patient={ada}",
    }
    found = site.new(ada, lambda: [site.ask(path).raise_for_status() for path in asked.values()])
    assert [one.interaction for one in found] == list(asked)
    assert [balp.problems(json.loads(one.resource)) for one in found] == [[]] * len(asked)
    assert {one.client for one in found} == {"gyn"}
    everything = {d.source: d.seqs for d in found[4].delivered}
    assert everything == {"registration": "1", "diagnosis": "1", "chart": "1-3"}


def test_a_search_over_several_patients_is_found_from_each_of_them(site: Site) -> None:
    both = [site.subject("p1"), site.subject("p2")]
    before = [len(site.events(one)) for one in both]
    site.ask("Observation?_count=50").raise_for_status()
    news = [site.events(one)[n:] for one, n in zip(both, before, strict=True)]
    assert [[(e.interaction, e.delivered[0].seqs) for e in some] for some in news] == [[("search-type", "1-3")]] * 2
    assert news[0][0].request_id == news[1][0].request_id


def test_what_was_refused_is_recorded_too(site: Site) -> None:
    ada = site.subject("p1")
    nobody = subject_of(EYE)
    found = site.new(nobody, lambda: [site.ask("Condition?code=x", "eye"), site.ask(f"Patient/{ada}", "eye")])
    assert [(e.status, e.outcome, e.patient) for e in found] == [(403, "4", False), (404, "4", False)]
    assert f"Patient/{ada}".encode() in found[1].resource
    assert site.ask(f"Patient/{ada}", token="none").status_code == 401


def test_writing_is_recorded_with_what_became_of_it(site: Site) -> None:
    ada = site.subject("p1")
    headers = {"Content-Type": "application/fhir+json"}

    def write() -> None:
        body = json.dumps(observation("w1", to=f"Patient/{ada}"))
        site.ask("Observation/w1", method="PUT", content=body, headers=headers).raise_for_status()
        site.ask("Observation/w1", method="DELETE").raise_for_status()

    found = site.new(ada, write)
    assert [(e.interaction, e.action, e.status) for e in found] == [("update", "C", 201), ("delete", "D", 204)]
    assert [balp.problems(json.loads(e.resource)) for e in found] == [[], []]


def test_nothing_leaves_while_it_cannot_be_recorded(site: Site) -> None:
    ada = site.subject("p1")
    role = site.settings.role(ACCESS)
    site.admin(f'ALTER ROLE "{role}" NOLOGIN')
    try:
        site.admin(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'")
        answer = site.ask(f"Patient/{ada}")
        assert "Meier" not in answer.text
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert answer.json()["issue"][0]["code"] == "transient"
    finally:
        site.admin(f'ALTER ROLE "{role}" LOGIN')
    for own_id in ("p1", "p2"):
        wait_until(lambda own_id=own_id: site.ask(f"Patient/{own_id}").status_code == 200, "it is recorded again")  # type: ignore[misc]
    unknown = broken(str(ada), id="x")
    wait_until(lambda: site.token("eye", **unknown)["status"] == 400, "glasses are looked up again")


KILLED = """
import os, sys
from starlette.testclient import TestClient
from epicrisis.doors.fhir_http import assembled
from epicrisis.journal import PostgresJournal
from epicrisis.settings import Settings
written = PostgresJournal.append_next
def kill(self, events):
    written(self, events)
    os._exit(9)
PostgresJournal.append_next = kill
client = TestClient(assembled.application(Settings.read(), base="http://testserver/fhir"))
print(client.get("/fhir/Patient/" + sys.argv[1], headers={"Authorization": "Bearer " + sys.argv[2]}).text)
"""


def test_a_process_killed_between_writing_and_answering_has_recorded_and_not_answered(site: Site) -> None:
    ada = site.subject("p1")

    def killed() -> None:
        ended = subprocess.run(
            [sys.executable, "-c", KILLED, str(ada), site.tokens["gyn"]],
            env=environment_of(site.settings),
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert ended.returncode == 9, ended.stderr
        assert "Meier" not in ended.stdout

    assert [e.interaction for e in site.new(ada, killed)] == ["read"]


def test_two_hundred_readings_at_once_share_commits(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    ada = site.subject("p1")
    sizes: list[int] = []
    written, held = PostgresJournal.append_next, threading.Event()

    def counted(self: PostgresJournal, events: Sequence[Unnumbered]) -> None:
        if not sizes:  # the first commit takes a while: others come meanwhile
            held.wait(0.3)
        sizes.append(len(events))
        written(self, events)

    monkeypatch.setattr(PostgresJournal, "append_next", counted)
    before = len(site.events(ada))
    with ThreadPoolExecutor(32) as threads:
        answers = list(threads.map(lambda _: site.ask(f"Patient/{ada}").status_code, range(200)))
    assert answers == [200] * 200
    assert sum(sizes) == len(site.events(ada)) - before == 200
    assert len(sizes) < 150


# Break-glass


def b2b(purpose: str = "BTG") -> dict[str, Any]:
    return {"subject_id": "dr-7", "purpose_of_use": [f"urn:oid:2.16.840.1.113883.5.8#{purpose}"]}


def broken(name: str, **more: Any) -> dict[str, Any]:
    return {"hl7-b2b": b2b(), "epicrisis-break-glass": {"patient": name, "reason": "unconscious", **more}}


def test_a_broken_glass_opens_one_patient_until_it_is_revoked_and_is_reviewed(
    site: Site, run: Callable[..., Result]
) -> None:
    ada, ben = site.subject("p1"), site.subject("p2")
    assert site.ask(f"Patient/{ada}", "eye").status_code == 404
    given = site.token("eye", **broken("urn:numbers|n-p1"))
    assert (given["status"], given["patient"]) == (200, str(ada)), given
    token = given["access_token"]

    read = site.new(ada, lambda: site.ask(f"Patient/{ada}", token=token).raise_for_status())
    assert [(e.purpose, e.user, e.break_glass_id) for e in read] == [("BTG", "dr-7", given["break_glass"]["id"])]
    assert balp.problems(json.loads(read[0].resource)) == []
    whole = site.ask(f"Patient/{ada}/$everything", token=token).json()
    assert {e["resource"]["resourceType"] for e in whole["entry"]} == {"Patient", "Observation"}, "as its scopes allow"
    assert site.ask(f"Observation?patient={ada}", token=token).json()["total"] == 3
    assert site.ask(f"Patient/{ben}", token=token).status_code == 404
    assert site.ask("Observation", token=token).json()["total"] == 0, "nobody is found who is not named"
    assert site.ask(f"Patient/{ada}", "eye").status_code == 404, "not without that token"

    again = site.token("eye", **broken(str(ada), id=given["break_glass"]["id"]))
    assert again["break_glass"] == given["break_glass"]
    site.running.wait()
    refused = run("break-glass", "review", given["break_glass"]["id"], "--as", "ben")
    assert "still broken" in str(refused.exception)

    signed = assertion("eye", KEY, f"{BASE}/auth/token")
    revoked = site.client.post("/fhir/auth/revoke", data={**form(signed, ""), "token": token})
    assert (revoked.status_code, revoked.json()) == (200, {})
    assert site.ask(f"Patient/{ada}", token=token).status_code == 403
    assert site.ask(f"Patient/{ada}", token=again["access_token"]).status_code == 403
    assert site.token("eye", **broken(str(ada), id=given["break_glass"]["id"]))["status"] == 400

    site.running.wait()
    (row,) = [r for r in glasses(site.settings) if r["break_glass_id"] == given["break_glass"]["id"]]
    assert (row["state"], row["accesses"], row["reason"], row["clinic"]) == ("over", 3, "unconscious", "charite/eye")
    assert run("break-glass", "review", row["break_glass_id"], "--as", "ben", "--note", "it was right").exit_code == 0
    site.running.wait()
    listed = json.loads(run("break-glass", "list", "--all", "--format", "json").stdout)
    assert [(r["state"], r["reviewed_by"], r["note"]) for r in listed] == [("reviewed", "ben", "it was right")]
    assert run("break-glass", "list", "--format", "csv").stdout.count("\n") == 1


@pytest.mark.parametrize(
    ("extensions", "words"),
    [
        (broken("urn:numbers|n-p1") | {"hl7-b2b": b2b("TREAT")}, "BTG or ETREAT"),
        (broken("urn:numbers|n-p1", reason=" "), "say why"),
        (broken("urn:numbers|n-p1", minutes=241), "at most 4 hours"),
        (broken("urn:numbers|nobody"), "no such patient"),
        (broken("urn:numbers|n-p1", id="x"), "not broken"),
        ({"hl7-b2b": 7}, "cannot be read"),
    ],
)
def test_a_glass_is_not_broken_otherwise_and_who_tried_is_recorded(
    site: Site, extensions: dict[str, Any], words: str
) -> None:
    refused: list[dict[str, Any]] = []
    found = site.new(subject_of(EYE), lambda: refused.append(site.token("eye", **extensions)))
    assert (refused[0]["status"], words in refused[0]["error_description"]) == (400, True), refused
    assert [(e.interaction, e.outcome) for e in found] == [("token", "4")]
    assert b"assertion" not in found[0].resource, "what the client signed is a credential"


# Commands


@pytest.fixture
def run(site: Site, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    for module in COMMAND_MODULES:
        importlib.import_module(module)
    for name, value in environment_of(site.settings).items():
        monkeypatch.setenv(name, value)
    return lambda *words: CliRunner().invoke(app, list(words))


def test_commands_record_who_why_and_whose(site: Site, run: Callable[..., Result], tmp_path: Path) -> None:
    ben = site.subject("p2")
    asked = {
        "replay": ["replay", str(ben)],
        "explain": ["explain", "clinic_patients", str(ben)],
        "read": ["read", "clinic_patients", "--columns", "family"],
        "access": ["access", str(ben)],
    }

    def all_of() -> None:
        for words in asked.values():
            done = run(*words, "--as", "ines", "--reason", "a complaint", "--format", "csv")
            assert done.exit_code == 0, (done.output, done.exception)
            assert "AccessRecorded" not in done.stdout

    found = site.new(ben, all_of)
    assert [e.interaction for e in found] == list(asked)
    assert {(e.client, e.user, e.reason) for e in found} == {("command line", "ines", "a complaint")}
    assert [balp.problems(json.loads(e.resource)) for e in found] == [[]] * 4


def test_the_log_says_who_looked_and_that_it_was_asked_for(site: Site, run: Callable[..., Result]) -> None:
    ben = site.subject("p2")
    site.running.wait()
    first = list(csv.DictReader(io.StringIO(run("access", f"Patient/{ben}", "--format", "csv").stdout)))
    assert first[0]["interaction"] == "read"
    site.running.wait()
    second = list(csv.DictReader(io.StringIO(run("access", f"Patient/{ben}", "--format", "csv").stdout)))
    assert [row["interaction"] for row in second[:2]] == ["access", "read"]
    assert len(second) == len(first) + 1, "once, and not once more for having been read"
    assert "no such patient" in str(run("access", str(UUID(int=5))).exception)


def test_every_checkpoint_says_how_many_accesses_there_are(site: Site) -> None:
    site.ask(f"Patient/{site.subject('p1')}").raise_for_status()
    site.running.wait()
    made = checkpoints(site.settings)
    made.publish()
    with made.store.transaction() as at:
        stored = at.head()
    assert stored is not None
    with psycopg.connect(site.settings.admin_dsn(site.settings.database("cluster"))) as connection:
        row = connection.execute("SELECT count(*) FROM ledger.event WHERE source = 'access_audit'").fetchone()
    assert row is not None
    assert Head.parse(stored.entry).access[0] == row[0] > 0
    assert recounted(site.settings) == []


def test_what_an_operator_has_seen_is_known_by_event(site: Site) -> None:
    ada = site.subject("p1")
    site.ask(f"Patient/{ada}/$everything").raise_for_status()
    site.running.wait()
    with Database(site.settings.dsn_for("cluster", "auditor"), size=1).transaction() as cur:
        mine, theirs = delivered(cur, "charite", ada), delivered(cur, "amc", ada)
    assert {("registration", 1), ("diagnosis", 1), ("chart", 1), ("chart", 2), ("chart", 3)} <= mine.keys()
    assert theirs == {}
    assert min(mine.values()) <= log(site.settings, ada)[0]["recorded"]
