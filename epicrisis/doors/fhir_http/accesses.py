"""What an HTTP request is called in the access log, and what is recorded of it before its answer leaves."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Protocol

from starlette.requests import Request

from epicrisis.access.api import FAILED, REFUSED, SUCCESS, Access, Accessed, Action
from epicrisis.doors.fhir_http.answers import Answer, refusal
from epicrisis.doors.fhir_http.caller import Caller, is_resource_type
from epicrisis.fhir.lexical import ID

_ID = re.compile(ID).fullmatch
_DOES: Mapping[tuple[str, str], tuple[str, Action]] = {
    ("GET", "/{type}/{id}"): ("read", "R"),
    ("GET", "/{type}/{id}/_history/{version}"): ("vread", "R"),
    ("GET", "/{type}/{id}/_history"): ("history-instance", "R"),
    ("GET", "/Patient/{id}/_history"): ("history-instance", "R"),
    ("GET", "/{type}/_history"): ("history-type", "E"),
    ("GET", "/_history"): ("history-system", "E"),
    ("GET", "/{type}"): ("search-type", "E"),
    ("POST", "/{type}/_search"): ("search-type", "E"),
    ("GET", "/Patient/{id}/{type}"): ("search-type", "E"),
    ("POST", "/{type}"): ("create", "C"),
    ("PUT", "/{type}/{id}"): ("update", "U"),
    ("PUT", "/{type}"): ("update", "U"),
    ("DELETE", "/{type}/{id}"): ("delete", "D"),
    ("POST", "/"): ("transaction", "E"),
}
_UNDECIDED = (429, 499, 503)
"""Nothing was looked at, or nothing leaves, and whoever asked will ask again."""


def does(method: str, path: str) -> tuple[str, Action]:
    """What a route does: FHIR's code, or the name of an operation; and the action that it is."""
    return _DOES.get((method, path)) or (path.rpartition("/")[2], "E")


class Records(Protocol):
    """`epicrisis.access.recorder.Recorder`, as far as a door needs it."""

    def submit(self, accesses: Sequence[Access]) -> Future[None]:
        """Done once these are recorded; then the answer may leave."""
        ...


class Recording:
    """Of one request: what it touches is recorded while it is answered, and the answer waits for that.

    ``caller`` is None as long as nobody knows who it is: then nobody is recorded. ``form`` is what was sent, where that
    is the search itself. ``ahead``: it only reads, so that what is read can be recorded at once.
    """

    def __init__(
        self, recorder: Records, request: Request, *, method: str, route: str, base: str, request_id: str, ahead: bool
    ) -> None:
        self.caller: Caller | None = None
        self.form = b""
        self.accessed = Accessed(self._ahead if ahead else None)
        self._recorder = recorder
        self._request = request
        self._does = does(method, route)
        self._base = base
        self._request_id = request_id
        self._begun: list[Future[None]] = []

    def _ahead(self, _: Accessed) -> None:
        """Called in the thread that reads, before it does."""
        self._submit(HTTPStatus.OK)

    async def done(self, answer: Answer) -> Answer:
        """The answer, once it is recorded who is given what; else another one."""
        known = self.accessed.caller
        self.caller = self.caller or (known if isinstance(known, Caller) else None)
        if self.caller is None:
            return answer
        if answer.status not in _UNDECIDED:
            if answer.status >= 400:  # what was to leave did not
                self.accessed.delivered = {patient: {} for patient in self.accessed.taken}
            if self.accessed.delivered or not self._begun:
                self._submit(answer.status)
        try:
            for one in self._begun:
                await asyncio.wrap_future(one)
        except Exception as error:
            return refusal(error)
        return answer

    def _submit(self, status: int) -> None:
        caller, request = self.caller, self._request
        assert caller is not None, "or nothing would have been read"
        kind, id_ = request.path_params.get("type", ""), request.path_params.get("id", "")
        kind = kind if is_resource_type(kind) else ""  # else it may be anything: a name, or what no database takes
        accessed = self.accessed
        accessed.what = accessed.what or (f"{kind}/{id_}" if kind and _ID(id_) else "")
        some = accessed.accesses(
            caller.who(address=request.client.host if request.client else ""),
            now=datetime.now(UTC),
            door=self._base,
            interaction=self._does[0],
            action=self._does[1],
            outcome=SUCCESS if status < 400 else REFUSED if status < 500 else FAILED,
            status=status,
            asked=_asked(request, self.form),
            resource_type=kind,
            request_id=self._request_id,
            break_glass=(caller.opened.patient, caller.opened.id) if caller.opened else None,
        )
        self._begun.append(self._recorder.submit(some))


def _asked(request: Request, body: bytes) -> str:
    """The request as it came. It may name people: it is sealed, and nowhere else."""
    path = request.scope.get("raw_path") or request.url.path.encode()
    query = f"?{request.url.query}" if request.url.query else ""
    form = f"\n{body.decode(errors='replace')}" if body else ""
    return f"{request.method} {path.split(b'?')[0].decode(errors='replace')}{query}{form}"
