"""What an HTTP request is called in the access log, and what is recorded of it before its answer leaves."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from starlette.requests import Request

from epicrisis.access.api import FAILED, REFUSED, SUCCESS, Access, Accessed, Action
from epicrisis.access.api import Caller as Who
from epicrisis.doors.fhir_http.caller import Caller

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


def accesses(
    accessed: Accessed,
    request: Request,
    route: tuple[str, str],
    caller: Caller,
    *,
    base: str,
    status: int,
    request_id: str,
    body: bytes = b"",
) -> list[Access]:
    """What is recorded: one per patient concerned, one where there is none; none where nothing was decided.

    ``route``: method and path of the interaction; ``body``: what was sent, if it is the search itself.
    """
    if status in _UNDECIDED:
        return []
    interaction, action = does(*route)
    kind, id_ = request.path_params.get("type", ""), request.path_params.get("id", "")
    accessed.what = accessed.what or (f"{kind}/{id_}" if kind and id_ else "")
    return accessed.accesses(
        Who(
            operator=caller.operator,
            clinic=caller.clinic,
            client=caller.client,
            user=caller.user,
            purpose=caller.purpose,
            address=request.client.host if request.client else "",
        ),
        now=datetime.now(UTC),
        door=base,
        interaction=interaction,
        action=action,
        outcome=SUCCESS if status < 400 else REFUSED if status < 500 else FAILED,
        status=status,
        asked=_asked(request, body),
        resource_type=kind,
        request_id=request_id,
        break_glass=(caller.opened.patient, caller.opened.id) if caller.opened else None,
    )


def _asked(request: Request, body: bytes) -> str:
    """The request as it came. It may name people: it is sealed, and nowhere else."""
    path = request.scope.get("raw_path") or request.url.path.encode()
    query = f"?{request.url.query}" if request.url.query else ""
    form = f"\n{body.decode(errors='replace')}" if body else ""
    return f"{request.method} {path.split(b'?')[0].decode(errors='replace')}{query}{form}"
