"""One record of an inbox: through the gate and intake, and what is answered."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
import psycopg
from uuid_utils import UUID as FastUUID
from uuid_utils import uuid5

from epicrisis import logging
from epicrisis.doors.kafka_inbox.batches import Unreadable
from epicrisis.doors.refusals import problems_of
from epicrisis.errors import Conflict, EpicrisisError, Foreign, Malformed, Poison, Refused, Unreachable
from epicrisis.fhir.outcome import Problem, outcome
from epicrisis.intake import Intake, Receipt
from epicrisis.intake.identity import event_ids
from epicrisis.operators import Operator
from epicrisis.quarantine import Quarantine

DOOR = "kafka"
CLINIC = "urn:epicrisis:clinic:"
"""A `ce_source` that begins so names the clinic, as operator/site."""
MAX_KEY = MAX_ID = 1024
MOST = 5_000
ACCEPTED, REFUSED = "epicrisis.inbox.accepted", "epicrisis.inbox.refused"
LATER = (psycopg.OperationalError, psycopg.InterfaceError, psycopg.ProgrammingError, Unreachable, Conflict)
"""What waiting mends: the database is away, or not provisioned yet, or others write to the same patient."""
_REPLIES = FastUUID("a4b6b4b2-8f0e-5d0a-9a53-2c7d6a1f5e90")

log = logging.get(__name__)


class Place(NamedTuple):
    """A partition of an operator's inbox. ``topic_id`` is Kafka's own: a topic made anew has another."""

    operator: str
    topic: str
    topic_id: UUID
    partition: int

    def name(self, offset: int) -> str:
        """What intake calls the message there."""
        return f"{self.topic_id}/{self.partition}/{offset}"


class Reply(NamedTuple):
    """What is answered. The same message gets the same one."""

    key: bytes | None
    value: bytes
    headers: list[tuple[str, bytes]]


class Judge:
    """Judges records. One for each record at hand, as intake is."""

    def __init__(self, intake: Intake, quarantine: Quarantine) -> None:
        self._intake = intake
        self._quarantine = quarantine

    def judge(self, record: Any, place: Place, operator: Operator) -> tuple[bytes, bool]:
        """What came of a record: the answer's value, and whether the message was taken in.

        Raises
        ------
        Exception
            One of `LATER`: nothing came of it yet.
        """
        raw: bytes = record.value or b""
        clinic = operator.clinic(operator.inbox.clinic if operator.inbox else operator.clinics[0])
        try:
            _check(record)
            clinic = _clinic(record, operator) or clinic
            receipt = self._intake.receive(
                raw, operator=operator.name, clinic=clinic, door=DOOR, name=place.name(record.offset)
            )
            return accepted(receipt), True
        except Refused as refusal:
            found: Sequence[Problem] = problems_of(raw, refusal)
        except LATER:
            raise
        except Exception as error:
            # One message may meet a defect: it must not keep all that come after it.
            log.error(
                "message not handled",
                operator=operator.name,
                topic=place.topic,
                partition=place.partition,
                offset=record.offset,
                error=error,
            )
            text = "it could not be handled, which is not the sender's fault: it is looked after here"
            code = "processing" if isinstance(error, (EpicrisisError, Poison)) else "exception"
            found = [Problem(severity="fatal", code=code, expression="", text=text)]
        if raw:
            found = self._quarantine.refused(raw, operator=operator.name, clinic=clinic, door=DOOR, problems=found)
        return outcome(found), False


def accepted(receipt: Receipt) -> bytes:
    """What came of a message that went in, the same for a repetition: its events' ids by service, and each entry's
    resource. Of a message with more than `MOST` of either, their numbers.
    """
    answer: dict[str, Any] = {"message": str(receipt.message), "resources": receipt.resources}
    if max(receipt.total, receipt.resources) > MOST:
        answer["events"] = dict(sorted(receipt.events.items()))
        return msgspec.json.encode(answer)
    answer["events"] = {
        service: [str(id) for id in islice(event_ids(receipt.message, service), count)]
        for service, count in sorted(receipt.events.items())
    }
    answer["entries"] = [
        {"resource": f"{one.resource_type}/{one.id}", "version": one.version, "did": one.did} for one in receipt.entries
    ]
    return msgspec.json.encode(answer)


def reply(record: Any, place: Place, value: bytes, taken_in: bool) -> Reply:
    """The record that is sent back: with the sender's key, and its `ce_id` or the place as what it answers."""
    key = record.key if record.key is None or len(record.key) <= MAX_KEY else None
    position = f"{place.partition}/{record.offset}"
    asked = _header(record, "ce_id")
    correlation = asked if asked and len(asked) <= MAX_ID else position.encode()
    content = b"application/json" if taken_in else b"application/fhir+json"
    return Reply(
        key,
        value,
        [
            ("ce_specversion", b"1.0"),
            ("ce_id", str(uuid5(_REPLIES, place.name(record.offset))).encode()),
            ("ce_type", (ACCEPTED if taken_in else REFUSED).encode()),
            ("ce_source", b"/epicrisis/inbox"),
            ("ce_correlationid", correlation),
            ("ce_inboxposition", position.encode()),
            ("content-type", content),
        ],
    )


def _check(record: Any) -> None:
    if isinstance(record.value, Unreadable):
        raise Malformed(f"offsets {record.value.first} to {record.offset}: {record.value.why}")
    if not record.value:
        raise Malformed("the record has no value: send FHIR JSON, and a deletion as a DELETE entry of a Bundle")
    if record.key is not None and len(record.key) > MAX_KEY:
        raise Malformed(f"the key is longer than {MAX_KEY:,} bytes: send a digest of your own patient number")


def _clinic(record: Any, operator: Operator) -> str | None:
    """The clinic that a header names: one of this operator's own."""
    source = _header(record, "ce_source")
    if source is None or not source.startswith(CLINIC.encode()):
        return None
    named = source.removeprefix(CLINIC.encode()).decode("utf-8", "replace")
    if named not in map(operator.clinic, operator.clinics):
        raise Foreign("the header ce_source names a clinic that is not one of this operator's")
    return named


def _header(record: Any, name: str) -> bytes | None:
    """A header's value; where there are several of this name, the last, as Kafka's own clients say."""
    return next((value for key, value in reversed(record.headers) if key == name), None)
