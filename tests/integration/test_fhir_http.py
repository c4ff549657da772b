"""FHIR over HTTP with a real `serve`: foreign clients, a process that is killed in the middle, several processes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from fhirclient.client import FHIRClient
from fhirclient.models.observation import Observation
from fhirclient.models.patient import Patient
from fhirpy import AsyncFHIRClient, SyncFHIRClient
from fhirpy.base.exceptions import OperationOutcome
from joserfc.jwk import import_key

from epicrisis.doors.fhir_http.client import access_token, assertion, form
from epicrisis.doors.fhir_http.tokens import ENDPOINT
from epicrisis.found import services
from epicrisis.local import operators
from epicrisis.local.state import read
from epicrisis.operators import read_operators
from epicrisis.settings import Settings
from tests.acceptance.support import Role
from tests.kernel_support import bundle, condition, observation, own_namespace, patient, wait_until

pytestmark = pytest.mark.servers

FHIR = {"Content-Type": "application/fhir+json"}


class Served:
    """`epicrisis serve` as a process, and the client of one operator."""

    def __init__(self, settings: Settings, *words: str) -> None:
        self.settings = settings
        with closing(socket.create_server(("127.0.0.1", 0))) as free:
            self.port = free.getsockname()[1]
        self.base = f"http://127.0.0.1:{self.port}/fhir"
        self.operator = sorted(read_operators(settings.operators_folder))[0]
        self.words = words
        self.role = self.start()

    def start(self) -> Role:
        role = Role(self.settings, "serve", "--port", str(self.port), *self.words)
        wait_until(lambda: self._answers(role), "serve answers")
        return role

    def _answers(self, role: Role) -> bool:
        assert role.alive
        try:
            return httpx.get(f"{self.base}/metadata", timeout=10).status_code == 200
        except httpx.TransportError:
            return False

    @property
    def key(self) -> Any:
        return import_key(read(operators.private_key(self.settings, self.client_id)))

    @property
    def client_id(self) -> str:
        return operators.client_of(self.operator)

    def answering(self) -> set[int]:
        """The processes that answer."""
        tasks = Path(f"/proc/{self.role._process.pid}/task")
        answering = set()
        for pid in (pid for task in tasks.iterdir() for pid in (task / "children").read_text().split()):
            with suppress(FileNotFoundError, ProcessLookupError):  # it ends just now
                if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    answering.add(int(pid))
        return answering

    def token(self) -> str:
        return access_token(self.base, self.client_id, self.key)

    def http(self) -> httpx.Client:
        return httpx.Client(base_url=self.base, headers={"Authorization": f"Bearer {self.token()}"}, timeout=30)


@pytest.fixture(scope="module")
def cluster(servers: dict[str, Any]) -> Iterator[Settings]:
    with own_namespace(servers, kafka=False) as settings:
        operators.make(settings)
        yield settings


@pytest.fixture(scope="module")
def served(cluster: Settings) -> Iterator[Served]:
    made = Served(cluster, "--workers", "2")
    yield made
    made.role.stop()


# Foreign clients


def test_fhirpy_creates_updates_finds_and_deletes(served: Served) -> None:
    client = SyncFHIRClient(served.base, authorization=f"Bearer {served.token()}")
    person = client.resource("Patient", name=[{"family": "Meier", "given": ["Ada"]}], birthDate="1971-03-04")
    person.save()
    assert person["meta"]["versionId"] == "1"
    person["name"][0]["family"] = "Maier"
    person.save()
    assert person["meta"]["versionId"] == "2"
    numbered = client.resource("Patient", identifier=[{"system": "urn:n", "value": "1"}])
    same, created = client.resources("Patient").search(identifier="urn:n|1").get_or_create(numbered)
    assert created
    again, created = client.resources("Patient").search(identifier="urn:n|1").get_or_create(numbered)
    assert (again["id"], created) == (same["id"], False)
    numbered["gender"] = "female"
    changed, created = client.resources("Patient").search(identifier="urn:n|1").update(numbered)
    assert (changed["id"], changed["meta"]["versionId"], created) == (same["id"], "2", False)
    value = client.resource(
        "Observation", status="final", code={"text": "weight"}, subject=person.to_reference(), valueString="58 kg"
    )
    value.save()
    value.delete()
    value["valueString"] = "85 kg"
    with pytest.raises(OperationOutcome, match="entered in error"):
        value.save()
    with pytest.raises(OperationOutcome):
        client.resource("Observation", status="banana").save()


def test_fhirpy_sends_a_transaction_asynchronously(served: Served) -> None:
    async def script() -> Any:
        client = AsyncFHIRClient(served.base, authorization=f"Bearer {served.token()}")
        return await client.execute("", method="post", data=json.loads(bundle(patient(), observation(), condition())))

    answer = asyncio.run(script())
    assert [entry["response"]["status"] for entry in answer["entry"]] == ["201 Created"] * 3


def test_fhirclient_creates_updates_and_deletes(served: Served) -> None:
    client = FHIRClient(settings={"app_id": "test", "api_base": served.base})
    client.server.session.headers["Authorization"] = f"Bearer {served.token()}"
    client.prepare()
    person = Patient({"name": [{"family": "Okafor"}], "gender": "female"})
    made = person.create(client.server)
    person.id = made["id"]
    person.gender = "other"
    assert person.update(client.server)["meta"]["versionId"] == "2"
    value = Observation({"status": "final", "code": {"text": "x"}, "subject": {"reference": f"Patient/{person.id}"}})
    value.id = value.create(client.server)["id"]
    value.delete(client.server)


# The token, over several processes


def test_an_assertion_counts_once_over_all_processes_and_nothing_goes_in_without_a_token(served: Served) -> None:
    signed = form(assertion(served.client_id, served.key, served.base + ENDPOINT), "system/Patient.r")
    answers = [httpx.post(served.base + ENDPOINT, data=signed) for _ in range(8)]  # a connection each: both processes
    assert sorted(answer.status_code for answer in answers) == [200, *[401] * 7]
    token = next(answer.json()["access_token"] for answer in answers if answer.status_code == 200)
    headers = FHIR | {"Authorization": f"Bearer {token}"}
    for _ in range(4):
        assert httpx.post(f"{served.base}/Patient", content=b"{}", headers=headers).status_code == 403
        assert httpx.post(f"{served.base}/Patient", content=b"{}", headers=FHIR).status_code == 401


def test_one_version_is_changed_by_one_of_many_at_once(served: Served) -> None:
    with served.http() as http:
        id_ = http.put("/Patient/race", json=patient("race"), headers=FHIR).json()["id"]

    def change(number: int) -> int:
        with served.http() as http:
            new = patient(id_, family=f"Meier-{number}")
            return http.put(f"/Patient/{id_}", json=new, headers=FHIR | {"If-Match": 'W/"1"'}).status_code

    found: list[int] = []
    threads = [threading.Thread(target=lambda n=n: found.append(change(n))) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [200, *[412] * 5]


# Killed in the middle


def transaction(*resources: dict[str, Any]) -> bytes:
    entries = [{"resource": r, "request": {"method": "POST", "url": r["resourceType"]}} for r in resources]
    return json.dumps({"resourceType": "Bundle", "type": "transaction", "entry": entries}).encode()


def events(settings: Settings) -> dict[str, int]:
    found = {}
    for name in services():
        with psycopg.connect(settings.dsn_for(name, "relay")) as connection:
            ((found[name],),) = connection.execute("SELECT count(*) FROM journal.event").fetchall()
    return found


def test_a_transaction_whose_process_is_killed_in_the_middle_goes_in_wholly_and_once(served: Served) -> None:
    resources = (patient("k1"), condition("k2", to="Patient/k1"), observation("k3", to="Patient/k1"))
    raw, settings = transaction(*resources), served.settings
    before = events(settings)
    failed: list[BaseException] = []

    def send() -> None:
        try:
            with served.http() as http:
                http.post("/", content=raw, headers=FHIR)
        except httpx.TransportError as error:
            failed.append(error)

    sender = threading.Thread(target=send)
    with psycopg.connect(settings.admin_dsn(settings.database("chart"))) as holder:
        holder.execute("LOCK TABLE journal.event IN EXCLUSIVE MODE")  # the last to append waits
        sender.start()
        wait_until(lambda: events(settings)["diagnosis"] > before["diagnosis"], "half of it is in")
        killed = served.answering()
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        sender.join()
        assert failed, "the sender had no answer"
        assert events(settings)["chart"] == before["chart"]
    wait_until(lambda: len(served.answering() - killed) == 2, "others have taken their places")
    with served.http() as http:
        answer = http.post("/", content=raw, headers=FHIR)
        assert [entry["response"]["status"] for entry in answer.json()["entry"]] == ["201 Created"] * 3
        assert http.post("/", content=raw, headers=FHIR).json() == answer.json()
    after = events(settings)
    new = {name: after[name] - before[name] for name in ("registration", "diagnosis", "chart")}
    assert new == {"registration": 1, "diagnosis": 1, "chart": 1}
