"""Answers: what a handler returns, what an error becomes, and how both are written.

Every answer that leaves the door is an `Answer`; every error is one with an OperationOutcome. Nothing in here repeats a
value that was sent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from email.utils import format_datetime

import psycopg
from isal import igzip

from epicrisis import logging
from epicrisis.doors.fhir_http.caller import Caller
from epicrisis.doors.refusals import issue_code
from epicrisis.errors import (
    Conflict,
    EpicrisisError,
    Foreign,
    Malformed,
    NotHere,
    NotRecorded,
    Refused,
    TooLarge,
    Unreachable,
    VersionMismatch,
)
from epicrisis.fhir.outcome import Problem, outcome

FHIR = "application/fhir+json"
JSON = "application/json"
MEDIA = (FHIR, JSON)
"""What is read and written; the first is what is written unless the client asks for the other."""
WORTH_ZIPPING = 1024
RETRY_SECONDS = 1

log = logging.get(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An HTTP answer. ``version`` and ``modified`` become ETag and Last-Modified; ``location`` is written as given."""

    status: int = 200
    body: bytes = b""
    version: int | None = None
    modified: datetime | None = None
    location: str = ""
    media: str = FHIR
    headers: Mapping[str, str] = field(default_factory=dict)

    def all_headers(self) -> dict[str, str]:
        """What goes before the body."""
        headers = dict(self.headers)
        if self.body:
            headers["Content-Type"] = f"{self.media}; charset=utf-8"
        if self.version is not None:
            headers["ETag"] = etag(self.version)
        if self.modified is not None:
            headers["Last-Modified"] = format_datetime(self.modified, usegmt=True)
        if self.location:
            headers["Location"] = self.location
        return headers

    def zipped(self) -> Answer:
        """The same with its body compressed, where that is worth it."""
        if len(self.body) < WORTH_ZIPPING or "Content-Encoding" in self.headers:
            return self
        headers = {**self.headers, "Content-Encoding": "gzip"}
        return replace(self, body=igzip.compress(self.body, compresslevel=1, mtime=0), headers=headers)


class Told(EpicrisisError):
    """A handler has this answer instead of the one that was asked for."""

    def __init__(self, answer: Answer, caller: Caller | None = None) -> None:
        super().__init__(f"status {answer.status}")
        self.answer = answer
        self.caller = caller
        """Who was refused, where that is known although they may not."""


def etag(version: int) -> str:
    """``W/"3"``."""
    return f'W/"{version}"'


def problem(
    status: int, code: str, text: str, expression: str = "", headers: Mapping[str, str] | None = None
) -> Answer:
    """An error with one issue; ``code`` is one of https://hl7.org/fhir/R4/valueset-issue-type.html."""
    return problems(status, [Problem(severity="error", code=code, expression=expression, text=text)], headers)


def problems(status: int, found: Sequence[Problem], headers: Mapping[str, str] | None = None) -> Answer:
    """An error with several issues."""
    return Answer(status=status, body=outcome(found), headers=headers or {})


def told(status: int, code: str, text: str, expression: str = "", headers: Mapping[str, str] | None = None) -> Told:
    """`problem`, to be raised."""
    return Told(problem(status, code, text, expression, headers))


def refusal(error: BaseException) -> Answer:
    """What an error becomes: never a 500 for what was sent, and never a value."""
    soon = {"Retry-After": str(RETRY_SECONDS)}
    match error:
        case Told(answer=answer):
            return answer
        case TooLarge():
            return problem(413, "too-long", error.message, error.where)
        case NotHere():
            return problem(404, "not-found", str(error))
        case Malformed(rule=rule):
            return problem(400 if rule else 422, issue_code(error), error.message, error.where)
        case VersionMismatch():
            return problem(412, "conflict", str(error))
        case Foreign():
            return problem(403, "forbidden", str(error))
        case Refused():
            return problem(422, "business-rule", str(error))
        case Conflict():
            return problem(409, "conflict", str(error), headers=soon)
        case NotRecorded():
            return problem(
                503, "transient", "access cannot be recorded, so nothing is given out: ask again", headers=soon
            )
        case Unreachable() | psycopg.OperationalError():
            log.warning("request waits for a server", error=type(error).__name__)
            return problem(503, "transient", "a server behind this one does not answer: send it again", headers=soon)
        case _:
            log.error("request failed", error=type(error).__name__)
            return problem(500, "exception", "this is a fault of the server: tell its people the request id")
