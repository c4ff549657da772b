"""What an HTTP request's access is, and that it is recorded before the answer leaves."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest
from starlette.testclient import TestClient

from epicrisis.access.api import Access
from epicrisis.doors.fhir_http.answers import Answer, told
from epicrisis.doors.fhir_http.app import Call, Door, Interaction
from epicrisis.doors.fhir_http.opening import Opening
from epicrisis.errors import NotRecorded, Refused
from tests.unit.doors.support import BASE, House

ADA = UUID(int=1)


class Notes:
    """Keeps what is recorded; where it is ``broken``, it says so only after the handler has answered."""

    def __init__(self, *, broken: bool = False) -> None:
        self.kept: list[Access] = []
        self.answered = threading.Event()
        self._broken = broken
        self._threads = ThreadPoolExecutor(1)

    def submit(self, accesses: Sequence[Access]) -> Future[None]:
        return self._threads.submit(self._keep, accesses)

    def _keep(self, accesses: Sequence[Access]) -> None:
        if self._broken:
            assert self.answered.wait(30)
            raise NotRecorded
        self.kept += accesses

    def client(self, answer: Callable[[], Answer]) -> TestClient:
        """A door where a read takes an event of a patient's, then answers so."""

        def handler(call: Call) -> Answer:
            call.accessed.took([(ADA, "chart", 7)])
            self.answered.set()
            return answer()

        reading = Interaction(method="GET", path="/{type}/{id}", handler=handler, letter="r")
        made = Door(base=BASE, interactions=[reading], who=House.who, recorder=self)
        return TestClient(made.app(), headers={"Authorization": "Bearer reader"}, raise_server_exceptions=False)


def test_an_answer_waits_until_its_access_is_recorded_and_does_not_leave_where_it_cannot_be() -> None:
    both = [Notes(), Notes(broken=True)]
    answers = [notes.client(lambda: Answer(body=b'"secret"')).get("/fhir/Observation/1") for notes in both]
    assert [answer.status_code for answer in answers] == [200, 503]
    assert [b"secret" in answer.content for answer in answers] == [True, False]
    assert [[(one.status, one.delivered) for one in notes.kept] for notes in both] == [[(200, {"chart": {7}})], []]


def test_what_was_recorded_ahead_and_did_not_leave_is_recorded_as_that() -> None:
    notes = Notes()

    def gone() -> Answer:
        raise told(410, "deleted", "gone")

    assert notes.client(gone).get("/fhir/Observation/1").status_code == 410
    assert [(one.patient, one.status, one.delivered) for one in notes.kept] == [
        (ADA, 200, {"chart": {7}}),
        (ADA, 410, {}),
    ]


@pytest.mark.parametrize(
    ("path", "kept"),
    [
        ("Observation/1", ("Observation", "Observation/1")),
        ("%00/1", ("", "")),
        ("Ada%20Lovelace/1", ("", "")),
        ("Observation/%00", ("Observation", "")),
        ("Observation/Ada%20Lovelace", ("Observation", "")),
    ],
)
def test_of_an_address_only_what_can_be_a_type_and_an_id_is_recorded_as_such(path: str, kept: tuple[str, str]) -> None:
    notes = Notes()
    notes.client(lambda: Answer(body=b"{}")).get(f"/fhir/{path}")
    assert {(one.resource_type, one.what) for one in notes.kept} == {kept}


@pytest.mark.parametrize("bad", ["\0", "dr\0 7", "\ud800"])
def test_what_no_database_takes_is_refused_where_a_client_says_who_uses_it_and_why(bad: str) -> None:
    nothing: Any = None
    opening = Opening(glass=nothing, names=nothing, chart=nothing, door="", clock=datetime.now)
    caller = House.who("Bearer reader")
    for said in (
        {"hl7-b2b": {"subject_id": bad}},
        {"hl7-b2b": {"purpose_of_use": [bad]}},
        {"epicrisis-break-glass": {"patient": "1", "reason": bad}},
    ):
        with pytest.raises(Refused, match="cannot be read"):
            opening.read(caller, said)
    assert opening.read(caller, {"hl7-b2b": {"subject_id": "dr-7"}}).user == "dr-7"
