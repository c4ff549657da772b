"""Client libraries of others, unchanged, against a server on a real port: create, read, search, page, history."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import uvicorn
from fhirclient.client import FHIRClient
from fhirclient.models.observation import Observation
from fhirclient.models.patient import Patient
from fhirpy import SyncFHIRClient
from fhirpy.base.exceptions import ResourceNotFound
from joserfc.jwk import import_key

from epicrisis.doors.fhir_http import assembled
from epicrisis.doors.fhir_http.client import access_token
from epicrisis.local import operators
from epicrisis.local.state import read
from epicrisis.operators import read_operators
from epicrisis.settings import Settings
from tests.infra import state_folder
from tests.kernel_support import Pipeline, own_namespace, wait_until

pytestmark = pytest.mark.servers
KIT, KIT_VERSION = "fhir-kit-client", "2.0.3"
LOINC = "http://loinc.org"


class Door(NamedTuple):
    """An address, and a token for it."""

    base: str
    token: str


@pytest.fixture(scope="module")
def door(servers: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    with own_namespace(servers) as settings, Pipeline(settings):
        ours = Settings(**settings.model_dump() | {"state": tmp_path_factory.mktemp("operators")})
        operators.make(ours)
        settings = Settings(**settings.model_dump() | {"operators": ours.operators_folder})
        config = uvicorn.Config(lambda: None, host="127.0.0.1", port=0, log_config=None, access_log=False)
        socket = config.bind_socket()
        base = f"http://127.0.0.1:{socket.getsockname()[1]}/fhir"
        config.app = assembled.application(settings, base=base)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [socket]}, name="uvicorn")
        thread.start()
        wait_until(lambda: server.started, "the server listens")
        operator = sorted(read_operators(ours.operators_folder))[0]
        client = operators.client_of(operator)
        yield Door(base, access_token(base, client, import_key(read(operators.private_key(ours, client)))))
        server.should_exit = True
        thread.join()
        socket.close()


def weight(reference: str, value: float, day: str) -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "status": "final",
        "code": {"coding": [{"system": LOINC, "code": "29463-7"}]},
        "subject": {"reference": reference},
        "effectiveDateTime": day,
        "valueQuantity": {"value": value, "unit": "kg"},
    }


def test_fhirpy(door: Door) -> None:
    client = SyncFHIRClient(door.base, authorization=f"Bearer {door.token}")
    patient = client.resource("Patient", name=[{"family": "Pyle", "given": ["Ada"]}], birthDate="1971-03-04")
    patient.save()
    reference = patient.to_reference().reference
    for number in range(1, 4):
        sent = weight(reference, 70 + number, f"2026-01-0{number}")
        client.resource(sent.pop("resourceType"), **sent).save()

    assert client.reference("Patient", patient.id).to_resource()["birthDate"] == "1971-03-04"
    found = client.resources("Patient").search(family="pyle", birthdate__ge="1971-01-01").fetch()
    assert [one["id"] for one in found] == [patient.id]
    assert client.resources("Patient").search(name="PYLE").first()["id"] == patient.id
    observations = client.resources("Observation").search(patient=patient.id, code=f"{LOINC}|29463-7")
    assert observations.count() == 3
    paged = observations.sort("-date").limit(2).fetch_all()
    assert [one["valueQuantity"]["value"] for one in paged] == [73, 72, 71]
    with_patient = observations.limit(1).include("Observation", "patient").fetch_raw()
    assert {entry["resource"]["resourceType"] for entry in with_patient["entry"]} == {"Observation", "Patient"}

    patient["gender"] = "female"
    patient.save()
    history = client.execute(f"Patient/{patient.id}/_history", method="get")
    assert [entry["resource"].get("gender") for entry in history["entry"]] == ["female", None]
    everything = client.execute(f"Patient/{patient.id}/$everything", method="get")
    assert sorted(e["resource"]["resourceType"] for e in everything["entry"]) == ["Observation"] * 3 + ["Patient"]
    with pytest.raises(ResourceNotFound):
        client.reference("Patient", "nobody").to_resource()


def test_fhirclient(door: Door) -> None:
    smart = FHIRClient(settings={"app_id": "clinic", "api_base": door.base})
    smart.server.session.headers["Authorization"] = f"Bearer {door.token}"
    patient = Patient({"resourceType": "Patient", "name": [{"family": "Smart"}], "birthDate": "1990-01-01"})
    id_ = patient.create(smart.server)["id"]
    for number in range(1, 4):
        Observation(weight(f"Patient/{id_}", 60 + number, f"2026-02-0{number}")).create(smart.server)

    assert Patient.read(id_, smart.server).birthDate.as_json() == "1990-01-01"
    search = Observation.where({"subject": f"Patient/{id_}", "_sort": "date", "_count": "2"})
    assert [one.valueQuantity.value for one in search.perform_resources(smart.server)][:2] == [61, 62]
    all_pages = [one.valueQuantity.value for one in search.perform_resources_iter(smart.server)]
    assert all_pages == [61, 62, 63]
    assert [p.id for p in Patient.where({"family": "smart"}).perform_resources(smart.server)] == [id_]
    history = smart.server.request_json(f"Patient/{id_}/_history")
    assert [entry["response"]["status"] for entry in history["entry"]] == ["201"]


@pytest.fixture(scope="module")
def kit() -> Path:
    """The folder into which fhir-kit-client was fetched, once."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("not run: fhir-kit-client needs node and npm, which are not here")
    folder = state_folder() / "npm"
    if not (folder / "node_modules" / KIT / "package.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        fetch = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts", "--prefix"]
        done = subprocess.run([*fetch, str(folder), f"{KIT}@{KIT_VERSION}"], capture_output=True, timeout=100)
        if done.returncode:
            pytest.skip(f"not run: npm could not fetch {KIT} {KIT_VERSION}")
    return folder


def test_fhir_kit_client(door: Door, kit: Path) -> None:
    script = shutil.copy(Path(__file__).parent / "clients" / "kit.mjs", kit)  # beside the package, where node looks
    done = subprocess.run(["node", script, door.base, door.token], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout) == {
        "fhirVersion": "4.0.1",
        "created": "Patient",
        "transaction": ["201", "201", "201"],
        "read": "Kit",
        "vread": "none",
        "history": 2,
        "typeHistory": "history",
        "byName": ["Kit"],
        "posted": 1,
        "pages": [[72, 71], [70]],
        "everything": ["Observation", "Observation", "Observation", "Patient"],
        "missing": [404, "OperationOutcome"],
    }
