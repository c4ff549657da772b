"""SMART Backend Services: a client signs an assertion with its private key, and gets an access token for five minutes.

https://hl7.org/fhir/smart-app-launch/backend-services.html. Who the client is, for which operator and clinic it writes
and what it may ask for is in its operator's manifest. There is no anonymous access.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qs
from uuid import uuid4

from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, OctKey

from epicrisis import logging
from epicrisis.doors.fhir_http.answers import JSON, Answer, Told, told
from epicrisis.doors.fhir_http.app import Call, Interaction
from epicrisis.doors.fhir_http.assertions import Assertions
from epicrisis.doors.fhir_http.caller import Caller, granted, scopes
from epicrisis.errors import SettingsError
from epicrisis.operators import Operator

ENDPOINT = "/auth/token"
LIFE = timedelta(minutes=5)
"""Of an access token, and the most that an assertion may have left."""
SKEW = 10
"""Seconds that a client's clock may be wrong."""
ALGORITHMS = ("ES384", "RS384")
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
REMEMBERED = 4096

log = logging.get(__name__)


@dataclass(frozen=True, slots=True)
class Registered:
    """A client as its operator's manifest describes it."""

    caller: Caller
    """``scopes``: what it may ask for."""
    keys: KeySet


class _OAuthError(Exception):
    """An error of https://www.rfc-editor.org/rfc/rfc6749#section-5.2."""

    def __init__(self, code: str, text: str, status: int = 400) -> None:
        super().__init__(code)
        self.code, self.text, self.status = code, text, status


def registered(operators: Mapping[str, Operator]) -> dict[str, Registered]:
    """Every client by its id.

    Raises
    ------
    SettingsError
        A file of keys cannot be read, or holds a private key.
    """
    found: dict[str, Registered] = {}
    for operator in operators.values():
        for client in operator.client:
            where = operator.folder / client.jwks
            try:
                keys = KeySet.import_key_set(json.loads(operator.read(client.jwks)))
            except (ValueError, KeyError, TypeError, JoseError):
                raise SettingsError(f"{where}: this is no JSON Web Key Set (RFC 7517)") from None
            if any(key.is_private for key in keys.keys):
                raise SettingsError(f"{where}: it holds a private key: leave only public ones, and make new keys")
            allowed = scopes(" ".join(client.scopes))
            if len(allowed) < len(client.scopes):
                raise SettingsError(
                    f"{operator.folder}: the client {client.id} has a scope other than system/Type.cruds"
                )
            caller = Caller(
                client=client.id, operator=operator.name, clinic=operator.clinic(client.clinic), scopes=allowed
            )
            found[client.id] = Registered(caller, keys)
    return found


class Tokens:
    """Gives access tokens, and knows them again. ``secret`` is the installation's: all its processes have the same.

    ``base`` is the door's address, ``also`` other addresses that clients may know it by.
    """

    def __init__(
        self,
        *,
        base: str,
        clients: Mapping[str, Registered],
        secret: bytes,
        assertions: Assertions,
        also: Collection[str] = (),
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._endpoint = base + ENDPOINT
        self._audiences = [self._endpoint, *(other + ENDPOINT for other in also)]
        self._clients = clients
        self._key = OctKey.import_key(hmac.new(secret, b"epicrisis access tokens v1", sha256).digest())
        self._assertions = assertions
        self._clock = clock
        self._known: dict[str, tuple[float, Caller]] = {}

    def interactions(self) -> Sequence[Interaction]:
        """The configuration and the token endpoint."""
        return [
            Interaction(method="GET", path="/.well-known/smart-configuration", handler=self.configuration, open=True),
            Interaction(method="POST", path=ENDPOINT, handler=self.token, body="form", open=True),
        ]

    def configuration(self, _: Call) -> Answer:
        """Where tokens are given, and how to ask for them."""
        return _json(
            200,
            {
                "token_endpoint": self._endpoint,
                "token_endpoint_auth_methods_supported": ["private_key_jwt"],
                "token_endpoint_auth_signing_alg_values_supported": list(ALGORITHMS),
                "grant_types_supported": ["client_credentials"],
                "scopes_supported": ["system/*.cruds"],
                "capabilities": ["client-confidential-asymmetric", "permission-v1", "permission-v2"],
            },
        )

    def token(self, call: Call) -> Answer:
        """An access token for an assertion: asked for ∩ allowed."""
        try:
            form = {name: values[0] for name, values in parse_qs(call.body.decode()).items()}
            if form.get("grant_type") != "client_credentials":
                raise _OAuthError("unsupported_grant_type", "grant_type must be client_credentials")
            if form.get("client_assertion_type") != ASSERTION_TYPE:
                raise _OAuthError("invalid_request", f"client_assertion_type must be {ASSERTION_TYPE}")
            caller = self._asserted(form.get("client_assertion", ""))
            given = granted(scopes(form.get("scope", "")), caller.scopes)
            if not given:
                raise _OAuthError("invalid_scope", "none of these scopes is allowed to this client")
        except UnicodeDecodeError:
            return _json(400, {"error": "invalid_request", "error_description": "the form is not UTF-8"})
        except _OAuthError as error:
            log.info("no access token given", reason=error.code)
            return _json(error.status, {"error": error.code, "error_description": error.text})
        words = " ".join(map(str, given))
        return _json(
            200,
            {
                "access_token": self.make(caller, words),
                "token_type": "bearer",
                "expires_in": int(LIFE.total_seconds()),
                "scope": words,
            },
        )

    def make(self, caller: Caller, words: str) -> str:
        """The access token itself."""
        now = int(self._clock().timestamp())
        claims = {"sub": caller.client, "scope": words, "iat": now, "exp": now + int(LIFE.total_seconds())}
        return jwt.encode({"alg": "HS256", "typ": "at+jwt"}, {**claims, "jti": uuid4().hex}, self._key)

    def who(self, authorization: str) -> Caller:
        """The caller with this Authorization header; 401 where there is none, or it is over."""
        kind, _, token = authorization.partition(" ")
        if kind.lower() != "bearer" or not token:
            raise _unknown("send an access token: Authorization: Bearer …", "")
        known = self._known.get(token)
        now = self._clock().timestamp()
        if known is None:
            known = self._read(token)
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            self._known[token] = known
        if known[0] <= now:
            raise _unknown("the access token is over: get a new one", "invalid_token")
        return known[1]

    def _read(self, token: str) -> tuple[float, Caller]:
        try:
            claims = jwt.decode(token, self._key, algorithms=["HS256"]).claims
            registered = self._clients[claims["sub"]]
            given = granted(scopes(claims["scope"]), registered.caller.scopes)
            caller = Caller(
                client=registered.caller.client,
                operator=registered.caller.operator,
                clinic=registered.caller.clinic,
                scopes=given,
            )
            return float(claims["exp"]), caller
        except (JoseError, ValueError, KeyError, TypeError):
            raise _unknown("this is no access token of this server", "invalid_token") from None

    def _asserted(self, assertion: str) -> Caller:
        """Whose assertion this is. What is wrong with it is told as far as that helps nobody to guess."""
        now = self._clock()
        try:
            claimed: Any = json.loads(jws.extract_compact(assertion.encode()).payload)
            registered = self._clients[claimed["iss"]]
            claims = jwt.decode(assertion, registered.keys, algorithms=list(ALGORITHMS)).claims
        except (JoseError, ValueError, KeyError, TypeError):
            raise _OAuthError(
                "invalid_client", "no client that is known here has signed this with its key", 401
            ) from None
        check = jwt.JWTClaimsRegistry(
            now=int(now.timestamp()),
            leeway=SKEW,
            sub={"essential": True, "value": registered.caller.client},
            aud={"essential": True, "values": self._audiences},
            exp={"essential": True},
            jti={"essential": True},
        )
        try:
            check.validate(claims)
        except JoseError as error:
            raise _OAuthError("invalid_client", f"the assertion is refused: {error.error}", 401) from None
        expires = float(claims["exp"])
        if expires > now.timestamp() + LIFE.total_seconds() + SKEW:
            raise _OAuthError("invalid_client", "the assertion is valid for more than five minutes", 401)
        over = datetime.fromtimestamp(expires, UTC) + timedelta(seconds=SKEW)
        if not self._assertions.first_use(registered.caller.client, claims["jti"], now, over):
            raise _OAuthError("invalid_client", "the assertion was used before: sign a new one", 401)
        return registered.caller


def _json(status: int, content: Mapping[str, object]) -> Answer:
    return Answer(status=status, body=json.dumps(content).encode(), media=JSON)


def _unknown(text: str, error: str) -> Told:
    challenge = 'Bearer realm="fhir"' + (f', error="{error}"' if error else "")
    return told(401, "login", text, headers={"WWW-Authenticate": challenge})
