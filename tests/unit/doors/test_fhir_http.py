"""The frame of FHIR over HTTP: who may, what is accepted, and that every error is an OperationOutcome."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import psycopg
import pytest
from starlette.testclient import TestClient

from epicrisis import errors
from epicrisis.doors.fhir_http import app as app_module
from epicrisis.doors.fhir_http.answers import Answer, refusal, told
from epicrisis.doors.fhir_http.app import Call, Door, Interaction
from epicrisis.doors.fhir_http.caller import Caller, Scope, granted, scopes
from epicrisis.doors.fhir_http.limits import Allowance, Room
from epicrisis.fhir.limits import Limits
from tests.unit.doors.support import recorder

CALLER = Caller(client="c", operator="charite", clinic="charite/gyn", scopes=scopes("system/Observation.rs"))


def echo(call: Call) -> Answer:
    return Answer(body=json.dumps({"body": call.body.decode(), "query": call.query}).encode() + b" " * 2000)


def fails(_: Call) -> Answer:
    raise ZeroDivisionError("secret")


def who(authorization: str) -> Caller:
    if authorization != "Bearer good":
        raise told(401, "login", "no", headers={"WWW-Authenticate": "Bearer"})
    return CALLER


INTERACTIONS = [
    Interaction(method="GET", path="/{type}/{id}", handler=echo, letter="r"),
    Interaction(method="PUT", path="/{type}/{id}", handler=echo, letter="u", body="fhir"),
    Interaction(method="POST", path="/{type}/_search", handler=echo, letter="s", body="form"),
    Interaction(method="POST", path="/", handler=echo, body="fhir"),
    Interaction(method="GET", path="/fails", handler=fails),
    Interaction(method="GET", path="/open", handler=echo, open=True),
]


def door(**more: Any) -> TestClient:
    made = Door(base="http://here/fhir", interactions=INTERACTIONS, who=who, recorder=recorder(), **more)
    return TestClient(made.app(), headers={"Authorization": "Bearer good"}, raise_server_exceptions=False)


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with door(limits=Limits(bundle=10_000)) as made:
        yield made


JSON = {"Content-Type": "application/fhir+json"}


@pytest.mark.parametrize(
    ("ask", "status", "code"),
    [
        (lambda c: c.get("/fhir/Observation/1", headers={"Authorization": ""}), 401, "login"),
        (lambda c: c.get("/fhir/Observation/1", headers={"Authorization": "Bearer bad"}), 401, "login"),
        (lambda c: c.get("/fhir/Patient/1"), 403, "forbidden"),
        (lambda c: c.put("/fhir/Observation/1", content="{}", headers=JSON), 403, "forbidden"),
        (lambda c: c.get("/fhir/Banana/1"), 404, "not-supported"),
        (lambda c: c.get("/fhir/HumanName/1"), 404, "not-supported"),
        (lambda c: c.get("/nowhere"), 404, "not-found"),
        (lambda c: c.get("/fhir/Observation/1/2/3"), 404, "not-found"),
        (lambda c: c.patch("/fhir/Observation/1"), 405, "not-supported"),
        (lambda c: c.get("/fhir/Observation/1", headers={"Accept": "application/fhir+xml"}), 406, "not-supported"),
        (lambda c: c.get("/fhir/Observation/1", headers={"Accept": JSON_R5}), 406, "not-supported"),
        (lambda c: c.get("/fhir/Observation/1?_format=xml"), 406, "not-supported"),
        (lambda c: c.post("/fhir", content=b"x" * 10_001, headers=JSON), 413, "too-long"),
        (lambda c: c.post("/fhir", content=gzip.compress(b"x" * 10_001), headers=JSON | GZIP), 413, "too-long"),
        (lambda c: c.post("/fhir", content=b"no gzip", headers=JSON | GZIP), 400, "structure"),
        (lambda c: c.post("/fhir", content=gzip.compress(b"x" * 99)[:-9], headers=JSON | GZIP), 400, "structure"),
        (lambda c: c.post("/fhir", content=b"x", headers=JSON | {"Content-Encoding": "br"}), 415, "not-supported"),
        (lambda c: c.post("/fhir", content=b"x", headers={"Content-Type": "text/plain"}), 415, "not-supported"),
        (lambda c: c.post("/fhir", content=b"x", headers={"Content-Type": JSON_LATIN}), 415, "not-supported"),
        (lambda c: c.post("/fhir", content=b"{}", headers={"Content-Type": JSON_R5}), 415, "not-supported"),
        (lambda c: c.post("/fhir/Observation/_search", content=b"{}", headers=JSON), 415, "not-supported"),
        (lambda c: c.get("/fhir/fails"), 500, "exception"),
    ],
)
def test_every_error_is_an_operation_outcome(
    client: TestClient, ask: Callable[[TestClient], Any], status: int, code: str
) -> None:
    answer = ask(client)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/fhir+json; charset=utf-8"
    assert len(answer.headers["x-request-id"]) == 32
    said = answer.json()
    assert said["resourceType"] == "OperationOutcome"
    assert [issue["code"] for issue in said["issue"]] == [code]
    assert "secret" not in answer.text


GZIP = {"Content-Encoding": "gzip"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
JSON_LATIN = "application/fhir+json; charset=latin-1"
JSON_R5 = 'application/fhir+json; fhirVersion="5.0"'


def test_a_401_says_how_to_come_in(client: TestClient) -> None:
    assert client.get("/fhir/Observation/1", headers={"Authorization": ""}).headers["www-authenticate"] == "Bearer"
    assert client.get("/fhir/open", headers={"Authorization": ""}).status_code == 200


def test_who_ends_an_address_with_a_slash_is_sent_to_the_address_that_clients_know(client: TestClient) -> None:
    answer = client.get("/fhir/Observation/1/?a=b", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (307, "http://here/fhir/Observation/1?a=b")
    assert client.get("/fhir/Observation/1/2/3/", follow_redirects=False).status_code == 404


@pytest.mark.parametrize("path", ["/fhir", "/fhir/"])
def test_what_is_sent_arrives_unzipped_and_comes_back_zipped(client: TestClient, path: str) -> None:
    answer = client.post(f"{path}?a=1&a=", content=gzip.compress(b"{}"), headers=JSON | GZIP)
    assert answer.json() == {"body": "{}", "query": [["a", "1"], ["a", ""]]}
    assert answer.headers["content-encoding"] == "gzip"
    plain = client.post(path, content=b"{}", headers=JSON | {"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers


@pytest.mark.parametrize(
    ("accepted", "zipped"),
    [("gzip", True), ("br, gzip;q=0.5", True), ("gzip;q=0", False), ("gzip; q=0.0, identity", False), ("br", False)],
)
def test_gzip_is_for_who_wants_it(client: TestClient, accepted: str, zipped: bool) -> None:
    answer = client.get("/fhir/Observation/1", headers={"Accept-Encoding": accepted})
    assert ("content-encoding" in answer.headers) == zipped


@pytest.mark.parametrize(
    ("path", "allowed"), [("/fhir/Observation/1", "GET, HEAD, PUT"), ("/fhir", "POST"), ("/fhir/", "POST")]
)
def test_what_cannot_be_done_is_told_with_what_can(client: TestClient, path: str, allowed: str) -> None:
    answer = client.delete(path)
    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("*/*", "application/fhir+json"),
        ("application/json", "application/json"),
        ("text/html, application/json;q=0.9", "application/json"),
        ("application/fhir+json; fhirVersion=4.0", "application/fhir+json"),
        ('application/fhir+json; fhirVersion="4.0"; charset=utf-8', "application/fhir+json"),
        ("application/fhir+json; fhirVersion=5.0, application/json", "application/json"),
    ],
)
def test_json_is_called_as_the_client_calls_it(client: TestClient, accept: str, expected: str) -> None:
    answer = client.get("/fhir/Observation/1", headers={"Accept": accept})
    assert (answer.status_code, answer.headers["content-type"]) == (200, f"{expected}; charset=utf-8")
    assert client.get("/fhir/Observation/1?_format=json", headers={"Accept": "text/xml"}).status_code == 200


def test_one_client_may_have_so_many_requests_open_and_all_together_too() -> None:
    inside, go_on = threading.Semaphore(0), threading.Event()

    def waits(_: Call) -> Answer:
        inside.release()
        assert go_on.wait(30)
        return Answer()

    waiting = [Interaction(method="GET", path="/waits", handler=waits)]

    def ask(allowance: Allowance) -> Any:
        inside.__init__(0)  # type: ignore[misc]
        go_on.clear()
        made = Door(base="", interactions=waiting, who=who, recorder=recorder(), room=Room(allowance))
        with TestClient(made.app(), headers={"Authorization": "Bearer good"}) as client:
            held = threading.Thread(target=lambda: client.get("/fhir/waits"))
            held.start()
            assert inside.acquire(timeout=30)
            refused = client.get("/fhir/waits")
            go_on.set()
            held.join()
            assert client.get("/fhir/waits").status_code == 200, "the place is free again"
        return refused

    for allowance, status in ((Allowance(client=1), 429), (Allowance(all=1), 503)):
        refused = ask(allowance)
        assert (refused.status_code, refused.headers["retry-after"]) == (status, "1")
        assert refused.json()["issue"][0]["code"] == "throttled"


def test_strangers_do_not_take_the_places_of_others() -> None:
    """The token endpoint is open to all: whoever dawdles there must not keep a client at another address out."""

    async def slowly() -> Any:
        yield b"a"
        await asyncio.sleep(0.3)

    open_form = [Interaction(method="POST", path="/token", handler=echo, body="form", open=True)]
    made = Door(base="", interactions=open_form, who=who, recorder=recorder(), room=Room(Allowance(client=1))).app()

    async def ask(address: str, content: Any) -> int:
        transport = httpx.ASGITransport(made, client=(address, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            return (await client.post("/fhir/token", content=content, headers=FORM)).status_code

    async def both() -> list[int]:
        held = asyncio.create_task(ask("10.0.0.1", slowly()))
        await asyncio.sleep(0.1)
        there, here = await ask("10.0.0.2", b"a=1"), await ask("10.0.0.1", b"a=1")
        return [there, here, await held]

    assert asyncio.run(both()) == [200, 429, 200]


def test_a_form_that_drips_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app_module, "BODY_SECONDS", 0.2)

    async def drip() -> Any:
        for _ in range(20):
            yield b"a"
            await asyncio.sleep(0.05)

    made = door().app

    async def ask(path: str, headers: dict[str, str]) -> int:
        given = {"Authorization": "Bearer good"} | headers
        async with httpx.AsyncClient(transport=httpx.ASGITransport(made), base_url="http://here") as client:
            return (await client.post(path, content=drip(), headers=given)).status_code

    assert asyncio.run(ask("/fhir/Observation/_search", FORM)) == 408
    assert asyncio.run(ask("/fhir", JSON)) == 200, "a large Bundle may take its time"


def test_what_would_not_fit_into_memory_is_refused_while_it_comes() -> None:
    room = Room(Allowance(memory=100_000))
    with door(room=room) as client:
        full = client.post("/fhir", content=b"x" * 100_001, headers=JSON)
        assert (full.status_code, full.headers["retry-after"]) == (503, "1")
        assert client.post("/fhir", content=b"x" * 99_999, headers=JSON).status_code == 200
        assert client.post("/fhir", content=b"x" * 99_999, headers=JSON).status_code == 200, "it was given back"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.TooLarge("t", rule="too-large"), 413),
        (errors.Malformed("t", "Patient.name", rule="unknown"), 400),
        (errors.Malformed("t"), 422),
        (errors.Unresolved("t"), 422),
        (errors.NotHere("t"), 404),
        (errors.Foreign("t"), 403),
        (errors.Refused("t"), 422),
        (errors.VersionMismatch("t"), 412),
        (errors.TooManyConflicts("t"), 409),
        (errors.Unreachable("t"), 503),
        (psycopg.OperationalError("t"), 503),
        (ValueError("t"), 500),
    ],
)
def test_every_error_has_its_status(error: Exception, status: int) -> None:
    answer = refusal(error)
    assert answer.status == status
    assert ("Retry-After" in answer.headers) == (status in (409, 503))


def test_scopes_allow_what_they_say() -> None:
    both = scopes("system/Observation.cr system/Patient.read user/*.cruds system/*.sdurc")
    assert both == (Scope("Observation", "cr"), Scope("Patient", "rs"))
    caller = Caller(client="c", operator="o", clinic="o/c", scopes=both)
    assert caller.may("Observation", "c")
    assert not caller.may("Observation", "u")
    assert not caller.may("Condition", "r")


@pytest.mark.parametrize(
    ("asked", "allowed", "expected"),
    [
        ("system/*.cruds", "system/Observation.rs", "system/Observation.rs"),
        ("system/Observation.cruds", "system/*.rs", "system/Observation.rs"),
        ("system/*.write", "system/*.cruds", "system/*.cud"),
        ("system/Patient.c", "system/Patient.rs", ""),
        ("system/Patient.c", "system/Observation.c", ""),
        ("system/*.*", "system/Patient.rs system/Patient.rs", "system/Patient.rs"),
    ],
)
def test_granted_is_what_is_asked_for_and_allowed(asked: str, allowed: str, expected: str) -> None:
    assert " ".join(map(str, granted(scopes(asked), scopes(allowed)))) == expected


def test_who_stops_sending_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app_module, "BODY_SECONDS", 0.05)
    room = Room()
    made = Door(base="", interactions=INTERACTIONS, who=who, recorder=recorder(), room=room).app()
    pieces = [{"type": "http.request", "body": b"{", "more_body": True}]
    sent: list[Any] = []

    async def receive() -> Any:
        if pieces:
            return pieces.pop()
        return await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"authorization", b"Bearer good"), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/fhir", "query_string": b"", "headers": headers}
    asyncio.run(made(scope, receive, send))
    assert sent[0]["status"] == 408
    with room.taken(CALLER.client) as place:
        place.hold(Allowance().memory)  # all of it is free again


def test_the_log_names_the_route_and_no_value(client: TestClient, capsys: pytest.CaptureFixture[str]) -> None:
    answer = client.get("/fhir/Observation/Zaphod?name=Beeblebrox", headers={"X-Request-Id": "Zaphod"})
    (line,) = [json.loads(line) for line in capsys.readouterr().err.splitlines() if "epicrisis.access" in line]
    assert (line["route"], line["method"], line["status"], line["client"]) == ("/{type}/{id}", "GET", 200, "c")
    assert line["request_id"] == answer.headers["x-request-id"]
    assert line["bytes"] > 0
    assert "Zaphod" not in json.dumps(line)
    assert "Beeblebrox" not in json.dumps(line)
