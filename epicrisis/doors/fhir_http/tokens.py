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
from uuid import UUID, uuid4

from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, OctKey

from epicrisis import logging
from epicrisis.doors.fhir_http.answers import JSON, Answer, Told, problem
from epicrisis.doors.fhir_http.app import Call, Interaction
from epicrisis.doors.fhir_http.assertions import Assertions
from epicrisis.doors.fhir_http.caller import Caller, Opened, granted, scopes
from epicrisis.doors.fhir_http.opening import Opening
from epicrisis.errors import Refused, SettingsError
from epicrisis.operators import Operator

ENDPOINT = "/auth/token"
REVOKE = "/auth/revoke"
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
        opening: Opening | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._endpoint = base + ENDPOINT
        self._revoke = base + REVOKE
        self._opening = opening
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
            Interaction(method="POST", path=REVOKE, handler=self.revoke, body="form", open=True),
        ]

    def configuration(self, _: Call) -> Answer:
        """Where tokens are given, and how to ask for them."""
        return _json(
            200,
            {
                "token_endpoint": self._endpoint,
                "revocation_endpoint": self._revoke,
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
            form = _form(call)
            if "grant_type" not in form:
                raise _OAuthError("invalid_request", "grant_type is missing: it must be client_credentials")
            if form["grant_type"] != "client_credentials":
                raise _OAuthError("unsupported_grant_type", "grant_type must be client_credentials")
            caller, extensions = self._asserted(form)
            given = granted(scopes(form.get("scope", "")), caller.scopes)
            if not given:
                raise _OAuthError("invalid_scope", "none of these scopes is allowed to this client")
            caller = self._extended(call, caller, extensions)
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
                "expires_in": int(self._left(caller).total_seconds()),
                "scope": words,
                **_said(caller),
            },
        )

    def revoke(self, call: Call) -> Answer:
        """https://www.rfc-editor.org/rfc/rfc7009: the glass that was broken for this token is broken no more."""
        try:
            form = _form(call)
            caller, _ = self._asserted(form)
            known = self._read(form.get("token", ""))[1]
            if known.client == caller.client:
                if known.opened is None or self._opening is None:
                    text = "no glass was broken for this token: it ends by itself, five minutes after it was given"
                    raise _OAuthError("unsupported_token_type", text)
                call.accessed.caller = known
                self._opening.end(known)
        except _OAuthError as error:
            return _json(error.status, {"error": error.code, "error_description": error.text})
        except (UnicodeDecodeError, Told):
            pass  # as the RFC wants it: what is no token need not be revoked
        return _json(200, {})

    def make(self, caller: Caller, words: str) -> str:
        """The access token itself."""
        now = int(self._clock().timestamp())
        claims: dict[str, Any] = {"sub": caller.client, "scope": words, "iat": now}
        claims |= {"exp": now + int(self._left(caller).total_seconds()), "user": caller.user, "why": caller.purpose}
        if caller.opened is not None:
            opened = caller.opened
            claims["opened"] = [str(opened.id), str(opened.patient), opened.until.timestamp()]
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
            raise _unknown("the access token is over: get a new one", "invalid_token", known[1])
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
                user=str(claims.get("user", "")),
                purpose=str(claims.get("why", "")),
                opened=_opened(claims.get("opened")),
            )
            return float(claims["exp"]), caller
        except (JoseError, ValueError, KeyError, TypeError):
            raise _unknown("this is no access token of this server", "invalid_token") from None

    def _extended(self, call: Call, caller: Caller, extensions: object) -> Caller:
        """With what the assertion says of the user, and for whom a glass is broken."""
        if self._opening is None or not extensions:
            return caller
        try:
            extended = self._opening.read(caller, extensions)
        except Refused as refusal:
            call.accessed.caller = caller
            raise _OAuthError("invalid_request", str(refusal)) from None
        if extended.opened is not None:
            call.accessed.caller = extended
        return extended

    def _left(self, caller: Caller) -> timedelta:
        """How long an access token lives: not longer than a glass is broken."""
        return LIFE if caller.opened is None else min(LIFE, caller.opened.until - self._clock())

    def _asserted(self, form: Mapping[str, str]) -> tuple[Caller, object]:
        """Whose assertion this is, and its extensions. What is wrong is told as far as that helps nobody to guess."""
        if form.get("client_assertion_type") != ASSERTION_TYPE:
            raise _OAuthError("invalid_request", f"client_assertion_type must be {ASSERTION_TYPE}")
        assertion = form.get("client_assertion", "")
        now = self._clock()
        try:
            signed = jws.extract_compact(assertion.encode())
            claimed: Any = json.loads(signed.payload)
            registered = self._clients[claimed["iss"]]
            key = registered.keys.get_by_kid(signed.headers()["kid"])
            claims = jwt.decode(assertion, key, algorithms=list(ALGORITHMS)).claims
        except (JoseError, ValueError, KeyError, TypeError, RecursionError):
            raise _OAuthError(
                "invalid_client",
                "no client that was in a manifest when `serve` started has signed this with its key",
                401,
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
        if claims["exp"] > now.timestamp() + LIFE.total_seconds() + SKEW:
            raise _OAuthError("invalid_client", "the assertion is valid for more than five minutes", 401)
        over = datetime.fromtimestamp(claims["exp"], UTC) + timedelta(seconds=SKEW)
        if not self._assertions.first_use(registered.caller.client, claims["jti"], now, over):
            raise _OAuthError("invalid_client", "the assertion was used before: sign a new one", 401)
        return registered.caller, claims.get("extensions")


def _form(call: Call) -> dict[str, str]:
    given = parse_qs(call.body.decode())
    if any(len(values) > 1 for values in given.values()):
        raise _OAuthError("invalid_request", "each parameter may be given once")
    return {name: values[0] for name, values in given.items()}


def _opened(claim: Any) -> Opened | None:
    if not claim:
        return None
    return Opened(id=UUID(claim[0]), patient=UUID(claim[1]), until=datetime.fromtimestamp(claim[2], UTC))


def _said(caller: Caller) -> dict[str, Any]:
    """What a token response says of a broken glass."""
    opened = caller.opened
    if opened is None:
        return {}
    return {"patient": str(opened.patient), "break_glass": {"id": str(opened.id), "until": opened.until.isoformat()}}


def _json(status: int, content: Mapping[str, object]) -> Answer:
    return Answer(status=status, body=json.dumps(content).encode(), media=JSON)


def _unknown(text: str, error: str, caller: Caller | None = None) -> Told:
    challenge = 'Bearer realm="fhir"' + (f', error="{error}"' if error else "")
    return Told(problem(401, "login", text, headers={"WWW-Authenticate": challenge}), caller)
