"""The door of an installation: the one place where its parts are put together."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from urllib.parse import urlsplit, urlunsplit

from starlette.applications import Starlette

from epicrisis.assembly import break_glass, codec, intakes, journals, key_store, quarantine, recorder
from epicrisis.database import Database
from epicrisis.doors.fhir_http import origins
from epicrisis.doors.fhir_http.app import PREFIX, Door, Interaction
from epicrisis.doors.fhir_http.assertions import PostgresAssertions
from epicrisis.doors.fhir_http.capability import Capability
from epicrisis.doors.fhir_http.chart import Chart
from epicrisis.doors.fhir_http.current import Current
from epicrisis.doors.fhir_http.histories import Histories
from epicrisis.doors.fhir_http.messages import Messages
from epicrisis.doors.fhir_http.names import Names
from epicrisis.doors.fhir_http.openapi import OpenApi
from epicrisis.doors.fhir_http.opening import Opening
from epicrisis.doors.fhir_http.pages import Pages
from epicrisis.doors.fhir_http.reading import Reader, Resources
from epicrisis.doors.fhir_http.searching import Searches
from epicrisis.doors.fhir_http.taking import Taking
from epicrisis.doors.fhir_http.tokens import Tokens, registered
from epicrisis.doors.fhir_http.transactions import Transactions
from epicrisis.doors.fhir_http.whole import Whole
from epicrisis.doors.fhir_http.writing import Writing
from epicrisis.doors.fhir_http.written import Written
from epicrisis.fhir.provenance import PROVENANCE
from epicrisis.found import takers
from epicrisis.intake.identity import Digests
from epicrisis.journal import Journal
from epicrisis.operators import read_operators
from epicrisis.settings import Settings

_LOOPBACK = ("127.0.0.1", "localhost")
_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104
"""Where a process may listen and nobody can call."""


def base_of(settings: Settings, host: str, port: int) -> str:
    """The address that clients know: the setting's, else where this process listens."""
    name = _LOOPBACK[0] if host in _EVERYWHERE else f"[{host}]" if ":" in host else host
    return (settings.http_url or f"http://{name}:{port}{PREFIX}").rstrip("/")


def application(
    settings: Settings, *, base: str, on_append: Callable[[str, Collection[int]], None] | None = None
) -> Starlette:
    """FHIR over HTTP, with every interaction there is; ``on_append`` is called with service and slices."""
    return door(settings, base=base, on_append=on_append).app()


def door(settings: Settings, *, base: str, on_append: Callable[[str, Collection[int]], None] | None = None) -> Door:
    """`application`, before it is one."""
    known = journals(settings, takers())
    names = names_of(settings, known)
    opening = Opening(
        glass=break_glass(settings, on_append),
        names=names,
        chart=_chart(settings, size=2),
        door=base,
        clock=lambda: datetime.now(UTC),
    )
    tokens = Tokens(
        base=base,
        also=_also(base),
        clients=registered(read_operators(settings.operators_folder)),
        secret=settings.wrapping_key_bytes(),
        assertions=PostgresAssertions(Database(settings.dsn_for("intake", "intake"), size=2, name="intake")),
        opening=opening,
    )
    written = Written()
    taking = Taking(intakes(settings, on_append), quarantine(settings), written)
    current = Current(services=takers(), journals=known, codec=codec(), keys=key_store(settings, "intake"))
    interactions: list[Interaction] = []
    made = Door(
        base=base,
        interactions=interactions,
        who=tokens.who,
        recorder=recorder(settings, on_append),
        still_open=opening.still,
    )
    interactions += tokens.interactions()
    interactions += reading(settings, written, names)
    for part in (Writing(taking, current), Transactions(taking, current, made.get), Messages(taking)):
        interactions += part.interactions()
    interactions += Capability(interactions).interactions()
    interactions += OpenApi(interactions).interactions()
    return made


def reading(settings: Settings, written: Written, names: Names) -> list[Interaction]:
    """Everything that reads."""
    reader = Reader(
        chart=_chart(settings, size=8),
        names=names,
        pages=Pages(settings.wrapping_key_bytes()),
        written=written,
    )
    parts = (Resources(reader, {PROVENANCE: origins.read}), Histories(reader), Searches(reader), Whole(reader))
    return [interaction for part in parts for interaction in part.interactions()]


def _chart(settings: Settings, *, size: int) -> Chart:
    database = Database(settings.dsn_for("cluster", "door"), size=size, name="cluster")
    return Chart(database, codec(), key_store(settings, "door"))


def names_of(settings: Settings, known: Mapping[str, Journal]) -> Names:
    """What these journals know of names."""
    return Names(
        {kind: known[name] for name, service in takers().items() for kind in service.identifies},
        lambda kind: [known[name] for name, service in takers().items() if service.may_keep(kind)],
        Digests(settings.wrapping_key_bytes()),
    )


def _also(base: str) -> list[str]:
    """The loopback address has two names."""
    parts = urlsplit(base)
    if parts.hostname not in _LOOPBACK:
        return []
    port = f":{parts.port}" if parts.port else ""
    return [urlunsplit(parts._replace(netloc=name + port)) for name in _LOOPBACK]
