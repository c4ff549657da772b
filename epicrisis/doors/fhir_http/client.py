"""The other side of the token endpoint: how a client gets an access token."""

from __future__ import annotations

import json
import time
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import Request, urlopen
from uuid import uuid4

from joserfc import jwt
from joserfc.jwk import Key

from epicrisis.doors.fhir_http.tokens import ASSERTION_TYPE
from epicrisis.errors import Refused, Unreachable

SECONDS = 60
"""How long an assertion is valid."""


def assertion(client: str, key: Key, endpoint: str, **changes: Any) -> str:
    """What a client signs; ``changes`` replace its claims, None leaves one out."""
    claims = {"iss": client, "sub": client, "aud": endpoint, "exp": int(time.time()) + SECONDS, "jti": uuid4().hex}
    claims = {name: value for name, value in {**claims, **changes}.items() if value is not None}
    algorithm = "ES384" if key.key_type == "EC" else "RS384"
    return jwt.encode({"alg": algorithm, "typ": "JWT", "kid": key.kid}, claims, key, algorithms=[algorithm])


def form(signed: str, scope: str) -> dict[str, str]:
    """What is posted to the token endpoint."""
    return {
        "grant_type": "client_credentials",
        "client_assertion_type": ASSERTION_TYPE,
        "client_assertion": signed,
        "scope": scope,
    }


def access_token(base: str, client: str, key: Key, scope: str = "system/*.cruds") -> str:
    """An access token of the door at this address.

    Raises
    ------
    Unreachable
        Nobody answers there.
    Refused
        The client or its key is not the one that the door knows.
    """
    try:
        endpoint = _ask(Request(f"{base}/.well-known/smart-configuration"))["token_endpoint"]  # noqa: S310
        data = urlencode(form(assertion(client, key, endpoint), scope)).encode()
        return str(_ask(Request(endpoint, data))["access_token"])  # noqa: S310
    except HTTPError as error:
        raise Refused(f"no access token for {client}: {_said(error)}") from None
    except (URLError, OSError):
        raise Unreachable(
            f"nobody answers at {base}: is `epicrisis serve` running there? (`epicrisis up --roles`)"
        ) from None


def _said(error: HTTPError) -> str:
    """Why, in the server's words; or what stands before it answers."""
    try:
        return str(json.loads(error.read())["error_description"])
    except (ValueError, KeyError, TypeError):
        return f"status {error.code}: `epicrisis doctor` says which part does not answer"


def _ask(request: Request) -> Any:
    with urlopen(request, timeout=30) as answer:  # noqa: S310
        return json.loads(answer.read())
