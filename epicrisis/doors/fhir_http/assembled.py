"""The door of an installation: the one place where its parts are put together."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

from starlette.applications import Starlette

from epicrisis.database import Database
from epicrisis.doors.fhir_http.app import PREFIX, Door, Interaction
from epicrisis.doors.fhir_http.assertions import PostgresAssertions
from epicrisis.doors.fhir_http.tokens import Tokens, registered
from epicrisis.operators import read_operators
from epicrisis.settings import Settings

_LOOPBACK = ("127.0.0.1", "localhost")


def base_of(settings: Settings, host: str, port: int) -> str:
    """The address that clients know: the setting's, else where this process listens."""
    return (settings.http_url or f"http://{host}:{port}{PREFIX}").rstrip("/")


def application(settings: Settings, *, base: str) -> Starlette:
    """FHIR over HTTP, with every interaction there is."""
    tokens = Tokens(
        base=base,
        also=_also(base),
        clients=registered(read_operators(settings.operators_folder)),
        secret=settings.wrapping_key_bytes(),
        assertions=PostgresAssertions(Database(settings.dsn_for("intake", "intake"), size=2, name="intake")),
    )
    interactions: list[Interaction] = [*tokens.interactions()]
    return Door(base=base, interactions=interactions, who=tokens.who).app()


def _also(base: str) -> list[str]:
    """The loopback address has two names."""
    parts = urlsplit(base)
    if parts.hostname not in _LOOPBACK:
        return []
    port = f":{parts.port}" if parts.port else ""
    return [urlunsplit(parts._replace(netloc=name + port)) for name in _LOOPBACK]
