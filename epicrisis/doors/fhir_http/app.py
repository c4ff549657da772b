"""The frame of the door: every request comes in, and every answer goes out, through `Door`.

A part of the interface is a list of `Interaction`s: method, path, the scope's letter that it needs, and a handler

    def read(call: Call) -> Answer

that runs in a thread, may block, and raises what it likes: `answers.refusal` makes an OperationOutcome of it. Before it
is called, the frame has checked the access token, the scope on ``{type}`` (and that R4 knows the type), what may be
accepted, the limits, and has read the body. Whose data an answer brings is noted in ``call.accessed``: it leaves once
that is recorded, and not before. A handler that decides by itself who may (no ``{type}`` in its path) asks
``call.caller.may``. Paths with fewer names in braces win. `serve` puts the lists together.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias
from urllib.parse import parse_qsl, urlsplit
from uuid import uuid4

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route, compile_path

from epicrisis import logging
from epicrisis.access.api import Accessed
from epicrisis.doors.fhir_http.accesses import Recording, Records
from epicrisis.doors.fhir_http.answers import FHIR, JSON, MEDIA, Answer, Told, problem, refusal, told
from epicrisis.doors.fhir_http.caller import Caller, is_resource_type
from epicrisis.doors.fhir_http.limits import Place, Room
from epicrisis.errors import Malformed, TooLarge
from epicrisis.fhir.limits import Limits
from epicrisis.fhir.read import Body
from epicrisis.lockstep import Lockstep

BODY_SECONDS = 30.0
"""A client that sends nothing for so long is left, and one whose form is not there by then."""

IN_STEP = 8
"""So many writing requests at most go in step in one thread."""

PREFIX = "/fhir"
FORM_BYTES = 64 * 1024

_GZIP = re.compile(r"\bgzip\b(?!\s*;\s*q=0(?:\.0*)?\s*(?:,|$))", re.I).search
"""Where an Accept-Encoding names gzip, with another weight than 0."""
_OTHER_FHIR = re.compile(r"\bfhirVersion\s*=[\s\"]*(?![\s\"]|4\.0(?:[\s\";]|$))", re.I).search
"""Where a media type names another version of FHIR: https://hl7.org/fhir/R4/http.html#version-parameter."""
_LETTERS = {"c": "create", "r": "read", "u": "update", "d": "delete", "s": "search"}
_RETURN = re.compile(r"return=(minimal|representation|OperationOutcome)\b", re.I).search

log = logging.get("epicrisis.access")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request, as handlers see it. ``path`` has what stands in the braces; header names are in small letters."""

    caller: Caller
    base: str
    """The door's own address, without a slash at the end: absolute URLs begin with it."""
    path: Mapping[str, str]
    query: Sequence[tuple[str, str]]
    headers: Mapping[str, str]
    body: bytes
    request_id: str
    accessed: Accessed = field(default_factory=Accessed)

    @property
    def prefer(self) -> str:
        """``minimal``, ``representation``, ``OperationOutcome``, or empty: nothing was preferred."""
        found = _RETURN(self.headers.get("prefer", ""))
        return "" if found is None else {"operationoutcome": "OperationOutcome"}.get(found[1].lower(), found[1].lower())


Handler: TypeAlias = Callable[[Call], Answer]
Bodies: TypeAlias = Literal["none", "fhir", "form"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interaction:
    """One thing that clients can do. ``letter`` of `caller.LETTERS`, or empty: the handler looks itself.

    ``writes``: it runs among the writing threads, in step with others where many wait.
    """

    method: str
    path: str
    handler: Handler
    letter: str = ""
    body: Bodies = "none"
    writes: bool = False
    open: bool = False
    """Anybody may: nobody's data is in it. Its handler is given a caller without scopes."""


NOBODY = Caller(client="", operator="", clinic="", scopes=())


@dataclass(slots=True, kw_only=True)
class Door:
    """The frame around interactions. ``who`` turns an Authorization header into a caller, or raises `Told`.

    ``base`` is the address that clients know (behind a proxy: the proxy's); here all paths begin with `PREFIX`.
    """

    base: str
    interactions: Sequence[Interaction]
    who: Callable[[str], Caller]
    recorder: Records
    still_open: Callable[[Caller], bool] = lambda caller: caller.opened is None
    """Whether the glass that this caller has broken is still broken; asked in a thread, before the handler."""
    limits: Limits = field(default_factory=Limits)
    room: Room = field(default_factory=Room)
    threads: int = 4

    def app(self) -> Starlette:
        """The application."""
        writing = Lockstep(self.threads, IN_STEP, "writing")
        reading = ThreadPoolExecutor(self.threads, "reading")
        routes = []
        for one in _ordered(self.interactions):
            endpoint = self._endpoint(one, writing if one.writes else reading)
            paths = [PREFIX + one.path, PREFIX] if one.path == "/" else [PREFIX + one.path]
            routes += [Route(path, endpoint, methods=[one.method]) for path in paths]
        made = Starlette(routes=routes, exception_handlers={HTTPException: self._no_route, Exception: self._fault})
        made.router.redirect_slashes = False  # `_no_route` knows under which name clients reach this server
        return made

    def _endpoint(self, interaction: Interaction, threads: Executor) -> Callable[[Request], object]:
        async def endpoint(request: Request) -> Response:
            started, request_id, caller = time.perf_counter(), uuid4().hex, NOBODY
            recording = Recording(
                self.recorder,
                request,
                method=interaction.method,
                route=interaction.path,
                base=self.base,
                request_id=request_id,
                ahead=not interaction.writes,
            )
            try:
                media = accepted(request)
                if not interaction.open:
                    caller = recording.caller = self.who(request.headers.get("authorization", ""))
                _check(interaction, request.path_params, caller)
                with self.room.taken(caller.client or _address(request)) as place:
                    body = await self._body(interaction, request, place)
                    recording.form = body if interaction.body == "form" and not interaction.open else b""
                    call = Call(
                        caller=caller,
                        base=self.base,
                        path=request.path_params,
                        query=parse_qsl(request.url.query, keep_blank_values=True),
                        headers=request.headers,
                        body=body,
                        request_id=request_id,
                        accessed=recording.accessed,
                    )
                    zips = _GZIP(request.headers.get("accept-encoding", "")) is not None
                    loop = asyncio.get_running_loop()
                    answer = await loop.run_in_executor(threads, self._answer, interaction.handler, call, media, zips)
            except ClientDisconnect:
                answer = problem(499, "incomplete", "the client has left")
            except Told as error:
                answer, recording.caller = error.answer, error.caller or recording.caller
            except Exception as error:
                answer = refusal(error)
            answer = await recording.done(answer)
            return self._leave(request, interaction.path, answer, started, request_id, caller)

        return endpoint

    def _answer(self, handler: Handler, call: Call, media: str, zips: bool) -> Answer:
        """In a thread: what the handler says, ready to be sent."""
        try:
            if call.caller.opened is not None and not self.still_open(call.caller):
                raise told(403, "forbidden", "this glass is not broken any more: get another access token")
            answer = handler(call)
        except Exception as error:
            answer = refusal(error)
        if answer.media == FHIR and media != FHIR:
            answer = replace(answer, media=media)
        return answer.zipped() if zips else answer

    def get(self, call: Call, url: str, if_none_match: str = "") -> Answer:
        """A GET inside another request, in its thread: ``url`` is relative to the door, or absolute.

        Raises
        ------
        Told
            There is no such address, no resource is there, or the caller may not.
        """
        parts = urlsplit(url.removeprefix(self.base))
        if parts.netloc:
            raise told(404, "not-found", "this is another server's address: leave the server out")
        for one in _ordered(self.interactions):
            pattern, _, convertors = compile_path(one.path)
            if one.method == "GET" and (match := pattern.match("/" + parts.path.lstrip("/"))):
                path = {name: convertors[name].convert(value) for name, value in match.groupdict().items()}
                _check(one, path, call.caller)
                query = parse_qsl(parts.query, keep_blank_values=True)
                headers = {**call.headers, "if-none-match": if_none_match}
                answer = one.handler(replace(call, path=path, query=query, headers=headers, body=b""))
                if answer.media == FHIR:
                    return answer
        raise told(404, "not-found", "there is nothing at this address: see /metadata")

    async def _body(self, interaction: Interaction, request: Request, place: Place) -> bytes:
        """The body, unzipped, within the limits."""
        if interaction.body == "none":
            return b""
        encoding = request.headers.get("content-encoding", "identity").strip().lower()
        if encoding not in ("identity", "gzip"):
            raise told(415, "not-supported", "only gzip is read as Content-Encoding")
        body = Body(self.limits.bundle if interaction.body == "fhir" else FORM_BYTES, zipped=encoding == "gzip")
        pieces = request.stream().__aiter__()
        try:
            async with asyncio.timeout(BODY_SECONDS if interaction.body == "form" else None):
                while True:
                    try:
                        piece = await asyncio.wait_for(anext(pieces), BODY_SECONDS)
                    except StopAsyncIteration:
                        break
                    body.add(piece)
                    place.hold(body.size)
            raw = body.whole()
        except TimeoutError:
            raise told(408, "timeout", "the rest of the request did not come: send it again") from None
        except TooLarge:
            raise
        except Malformed as damaged:
            raise told(400, "structure", damaged.message) from None
        if raw:
            _check_media(interaction.body, request.headers.get("content-type", ""))
        return raw

    async def _no_route(self, request: Request, error: Exception) -> Response:
        """What no interaction answers."""
        assert isinstance(error, HTTPException)
        path = request.url.path.rstrip("/")
        if error.status_code == 404 and path != request.url.path and self._methods(path):
            query = f"?{request.url.query}" if request.url.query else ""
            answer = Answer(status=307, location=f"{self.base}{path.removeprefix(PREFIX)}{query}")
        elif error.status_code == 405:
            text = "this cannot be done here: see the CapabilityStatement at /metadata"
            answer = problem(405, "not-supported", text, headers={"Allow": ", ".join(self._methods(request.url.path))})
        else:
            answer = problem(404, "not-found", "there is nothing at this address: see /metadata")
        return self._leave(request, "", answer, time.perf_counter(), uuid4().hex, NOBODY)

    def _methods(self, path: str) -> list[str]:
        """What can be done at an address, by whichever interaction."""
        inside = path.removeprefix(PREFIX) or "/"
        found = {one.method for one in self.interactions if compile_path(one.path)[0].match(inside)}
        return sorted(found | ({"HEAD"} if "GET" in found else set()))

    async def _fault(self, request: Request, error: Exception) -> Response:
        return self._leave(request, "", refusal(error), time.perf_counter(), uuid4().hex, NOBODY)

    def _leave(
        self, request: Request, route: str, answer: Answer, started: float, request_id: str, caller: Caller
    ) -> Response:
        """The one way out. The log names no value: of the URL the route alone."""
        log.info(
            "request",
            method=request.method,
            route=route,
            status=answer.status,
            milliseconds=round((time.perf_counter() - started) * 1000, 1),
            bytes=len(answer.body),
            client=caller.client,
            request_id=request_id,
        )
        headers = {**answer.all_headers(), "X-Request-Id": request_id, "Cache-Control": "no-store"}
        return Response(answer.body, status_code=answer.status, headers=headers)


def accepted(request: Request) -> str:
    """The media type that the client wants, of those written here."""
    asked = request.query_params.get("_format") or request.headers.get("accept") or "*/*"
    for part in asked.split(","):
        kind = part.split(";")[0].strip().replace(" ", "+").lower()
        if _OTHER_FHIR(part):
            continue
        if kind in ("json", "*/*", "application/*"):
            return FHIR
        if kind in (*MEDIA, "text/json"):
            return kind if kind in MEDIA else JSON
    raise told(406, "not-supported", f"only JSON of FHIR R4 is written: ask for {FHIR}")


def _address(request: Request) -> str:
    """Whose place a request takes that nobody has signed: strangers shall not take those of others."""
    return f"@{request.client.host}" if request.client else ""


def _ordered(interactions: Sequence[Interaction]) -> list[Interaction]:
    """The most particular first."""
    return sorted(interactions, key=lambda i: [part.startswith("{") for part in i.path.split("/")])


def _check(interaction: Interaction, path: Mapping[str, str], caller: Caller) -> None:
    kind = path.get("type")
    if kind is None:
        return
    if not is_resource_type(kind):
        raise told(404, "not-supported", "FHIR R4 knows no resource of this type")
    if interaction.letter and not caller.may(kind, interaction.letter):
        what = _LETTERS[interaction.letter]
        raise told(403, "forbidden", f"the access token does not allow this client to {what} {kind}")


def _check_media(expected: Bodies, content_type: str) -> None:
    kind, _, rest = content_type.partition(";")
    kind = kind.strip().lower()
    if expected == "form":
        if kind != "application/x-www-form-urlencoded":
            raise told(415, "not-supported", "send application/x-www-form-urlencoded")
    elif kind not in (*MEDIA, "text/json"):
        raise told(415, "not-supported", f"only JSON is read: send {FHIR}")
    if _OTHER_FHIR(rest):
        raise told(415, "not-supported", "only FHIR R4 is read: fhirVersion=4.0")
    charset = re.search(r'charset="?([^";\s]+)', rest, re.I)
    if charset and charset[1].lower() not in ("utf-8", "utf8"):
        raise told(415, "not-supported", "only UTF-8 is read")
