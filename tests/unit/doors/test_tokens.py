"""SMART Backend Services: a registered key, an assertion that counts once, a token for what is allowed."""

from __future__ import annotations

import base64
import io
import json
from datetime import UTC, datetime, timedelta
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest
from joserfc.jwk import ECKey, KeySet, RSAKey
from starlette.testclient import TestClient

from epicrisis.doors.fhir_http import client
from epicrisis.doors.fhir_http.answers import Answer
from epicrisis.doors.fhir_http.app import Call, Door, Interaction
from epicrisis.doors.fhir_http.assembled import base_of
from epicrisis.doors.fhir_http.assertions import MemoryAssertions
from epicrisis.doors.fhir_http.caller import Caller, scopes
from epicrisis.doors.fhir_http.client import assertion, form
from epicrisis.doors.fhir_http.tokens import ENDPOINT, REVOKE, Registered, Tokens, registered
from epicrisis.errors import Refused, SettingsError
from epicrisis.operators import read_operators
from epicrisis.settings import Settings
from tests.unit.doors.support import recorder

BASE = "http://here/fhir"
KEY = ECKey.generate_key("P-384", {"alg": "ES384", "use": "sig"}, auto_kid=True)
RSA = RSAKey.generate_key(2048, {"alg": "RS384", "use": "sig"}, auto_kid=True)
STRANGER = ECKey.generate_key("P-384", {"kid": KEY.kid})
CALLER = Caller(
    client="his", operator="charite", clinic="charite/gyn", scopes=scopes("system/*.rs system/Patient.cruds")
)
CLIENTS = {"his": Registered(CALLER, KeySet([KEY, RSA]))}


class Clock:
    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now


def who_am_i(call: Call) -> Answer:
    c = call.caller
    return Answer(body=json.dumps([c.client, c.operator, c.clinic, " ".join(map(str, c.scopes))]).encode())


class House:
    def __init__(self, secret: bytes = b"s" * 32) -> None:
        self.clock = Clock()
        self.assertions = MemoryAssertions()
        self.client = TestClient(self.process(secret))

    def process(self, secret: bytes = b"s" * 32) -> Any:
        tokens = Tokens(
            base=BASE,
            clients=CLIENTS,
            secret=secret,
            assertions=self.assertions,
            clock=self.clock,
            also=["http://x/fhir"],
        )
        interactions = [*tokens.interactions(), Interaction(method="GET", path="/me", handler=who_am_i)]
        return Door(base=BASE, interactions=interactions, who=tokens.who, recorder=recorder()).app()

    @property
    def soon(self) -> int:
        """In a minute, by the clock of this house: the tests may run long after this file was read."""
        return int(self.clock.now.timestamp()) + 60

    def ask(self, signed: str, scope: str = "system/*.cruds", **changes: str) -> Any:
        return self.client.post(f"/fhir{ENDPOINT}", data={**form(signed, scope), **changes})

    def me(self, token: str) -> Any:
        return self.client.get("/fhir/me", headers={"Authorization": f"Bearer {token}"})


@pytest.fixture
def house() -> House:
    return House()


def sign(key: Any = KEY, **changes: Any) -> str:
    return assertion("his", key, BASE + ENDPOINT, **changes)


@pytest.mark.parametrize("key", [KEY, RSA], ids=["ES384", "RS384"])
def test_a_signed_assertion_gets_a_token_for_what_is_asked_and_allowed(house: House, key: Any) -> None:
    given = house.ask(sign(key), "system/Observation.cruds system/Patient.c user/Patient.r").json()
    assert given["token_type"] == "bearer"
    assert given["expires_in"] == 300
    assert given["scope"] == "system/Observation.rs system/Patient.c"
    assert house.me(given["access_token"]).json() == ["his", "charite", "charite/gyn", given["scope"]]


def test_a_token_without_a_broken_glass_cannot_be_revoked_and_that_is_said(house: House) -> None:
    token = house.ask(sign()).json()["access_token"]

    def revoked(token: str) -> Any:
        return house.client.post(f"/fhir{REVOKE}", data={**form(sign(), ""), "token": token})

    refused = revoked(token)
    assert (refused.status_code, refused.json()["error"]) == (400, "unsupported_token_type")
    assert house.me(token).status_code == 200
    assert (revoked("none").status_code, revoked("none").json()) == (200, {}), "what is no token need not be revoked"


def test_the_configuration_names_the_token_endpoint(house: House) -> None:
    said = house.client.get("/fhir/.well-known/smart-configuration").json()
    assert said["token_endpoint"] == BASE + ENDPOINT
    assert said["token_endpoint_auth_signing_alg_values_supported"] == ["ES384", "RS384"]


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", "http://127.0.0.1:8080/fhir"),
        ("0.0.0.0", "http://127.0.0.1:8080/fhir"),
        ("::1", "http://[::1]:8080/fhir"),
        ("fhir.example", "http://fhir.example:8080/fhir"),
    ],
)
def test_the_address_is_where_it_listens_unless_a_setting_says_otherwise(
    tmp_path: Path, host: str, expected: str
) -> None:
    assert base_of(Settings(state=tmp_path), host, 8080) == expected
    public = Settings(state=tmp_path, http_url="https://fhir.example.org/r4/")
    assert base_of(public, host, 8080) == "https://fhir.example.org/r4"


NOW = datetime.now(UTC).timestamp()


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"aud": "https://elsewhere/token"}, "another server's"),
        ({"aud": None}, "nobody's"),
        ({"exp": int(NOW) - 60}, "over"),
        ({"exp": int(NOW) + 3600}, "valid for too long"),
        ({"exp": None}, "for ever"),
        ({"exp": "soon"}, "no time"),
        ({"exp": 10**400}, "valid for longer than there is time"),
        ({"jti": None}, "not to be told apart"),
        ({"jti": 7}, "jti is no text"),
        ({"iss": "other"}, "of nobody known"),
        ({"sub": "other"}, "about somebody else"),
        ({"sub": None}, "about nobody"),
        ({"nbf": int(NOW) + 3600}, "not yet"),
    ],
)
def test_an_assertion_that_is_not_quite_right_gets_nothing(house: House, claims: dict[str, Any], why: str) -> None:
    refused = house.ask(sign(**claims))
    assert refused.status_code == 401, why
    assert refused.json()["error"] == "invalid_client"
    assert refused.headers["cache-control"] == "no-store"


def test_a_stranger_gets_nothing(house: House) -> None:
    header, payload, _ = sign().split(".")
    unsigned = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode()
    for signed in (sign(STRANGER), "", "a.b.c", "{}", f"{header}.{payload}.", f"{unsigned}.{payload}."):
        assert house.ask(signed).status_code == 401, signed


def test_an_assertion_that_is_no_json_to_speak_of_gets_nothing(house: House) -> None:
    header = sign().partition(".")[0]
    deep = base64.urlsafe_b64encode(b"[" * 20_000).rstrip(b"=").decode()
    for signed in (f"{header}.{deep}.x", f"{deep}.{deep}.x"):
        refused = house.ask(signed)
        assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")


def test_an_assertion_names_its_key(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    from joserfc import jwt

    monkeypatch.setitem(CLIENTS, "his", Registered(CALLER, KeySet([KEY])))
    claims = {"iss": "his", "sub": "his", "aud": BASE + ENDPOINT, "exp": house.soon}
    for header, status in (({"kid": KEY.kid}, 200), ({}, 401), ({"kid": "another"}, 401)):
        claims["jti"] = f"{header}"
        signed = jwt.encode({"alg": "ES384", **header}, claims, KEY, algorithms=["ES384"])
        assert house.ask(signed).status_code == status, header


def test_the_public_key_is_no_secret_to_sign_with(house: House) -> None:
    from joserfc import jwt
    from joserfc.jwk import OctKey

    public = OctKey.import_key(str(KEY.as_dict(private=False)["x"]))
    claims = {"iss": "his", "sub": "his", "aud": BASE + ENDPOINT, "exp": house.soon, "jti": "1"}
    for key_id in (KEY.kid, None):
        header = {"alg": "HS256"} | ({"kid": key_id} if key_id else {})
        assert house.ask(jwt.encode(header, claims, public)).status_code == 401


def test_an_assertion_counts_once_for_all_processes(house: House) -> None:
    signed = sign()
    assert house.ask(signed).status_code == 200
    again = house.ask(signed)
    assert again.status_code == 401
    assert "used before" in again.json()["error_description"]
    other = TestClient(house.process()).post(f"/fhir{ENDPOINT}", data=form(signed, "system/*.cruds"))
    assert other.status_code == 401


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"client_assertion_type": "x"}, "invalid_request"),
        ({"scope": "user/*.cruds"}, "invalid_scope"),
        ({"scope": "system/Observation.c"}, "invalid_scope"),
        ({"scope": ""}, "invalid_scope"),
    ],
)
def test_a_wrong_form_is_told_what_is_wrong(house: House, changes: dict[str, str], error: str) -> None:
    refused = house.ask(sign(), **changes)
    assert (refused.status_code, refused.json()["error"]) == (400, error)


def test_a_form_without_what_it_needs_or_with_it_twice_is_no_request(house: House) -> None:
    good = form(sign(), "system/*.cruds")
    without = {name: value for name, value in good.items() if name != "grant_type"}
    for given in (without, {**good, "scope": ["system/*.r", "system/*.s"]}):
        refused = house.client.post(f"/fhir{ENDPOINT}", data=given)
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_request")


def test_a_token_is_over_after_five_minutes_and_forged_ones_never_begin(house: House) -> None:
    token = house.ask(sign()).json()["access_token"]
    assert house.me(token).status_code == 200
    assert TestClient(house.process()).get("/fhir/me", headers={"Authorization": f"Bearer {token}"}).status_code == 200
    stranger = House(b"t" * 32).ask(sign()).json()["access_token"]
    head, claims, seal = token.split(".")
    for forged in (stranger, f"{head}.{claims}.", f"{head}.{claims}x.{seal}", "", "x"):
        refused = house.me(forged)
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"].startswith("Bearer")
    house.clock.now += timedelta(minutes=5)
    over = house.me(token)
    assert over.status_code == 401
    assert 'error="invalid_token"' in over.headers["www-authenticate"]


MANIFEST = """
title = "North"
country = "FI"
clinics = ["north"]
[[client]]
id = "his"
clinic = "north"
scopes = ["system/*.rs"]
jwks = "his.json"
"""


def folder(tmp_path: Path, keys: str, manifest: str = MANIFEST) -> Path:
    (tmp_path / "op").mkdir()
    (tmp_path / "op" / "manifest.toml").write_text(manifest, encoding="utf-8")
    (tmp_path / "op" / "his.json").write_text(keys, encoding="utf-8")
    return tmp_path


def test_clients_come_from_the_manifests(tmp_path: Path) -> None:
    public = json.dumps({"keys": [KEY.as_dict(private=False)]})
    found = registered(read_operators(folder(tmp_path, public)))["his"].caller
    assert (found.operator, found.clinic, found.scopes) == ("op", "op/north", scopes("system/*.rs"))


@pytest.mark.parametrize(
    ("keys", "manifest", "said"),
    [
        ("{}", MANIFEST, "no JSON Web Key Set"),
        ("no", MANIFEST, "no JSON Web Key Set"),
        (json.dumps({"keys": [KEY.as_dict(private=True)]}), MANIFEST, "private key"),
        (json.dumps({"keys": [KEY.as_dict(private=False)]}), MANIFEST.replace("system/", "user/"), "scope"),
    ],
)
def test_a_wrong_registration_is_named_and_its_keys_not_shown(
    tmp_path: Path, keys: str, manifest: str, said: str
) -> None:
    with pytest.raises(SettingsError, match=said) as refused:
        registered(read_operators(folder(tmp_path, keys, manifest)))
    assert str(KEY.as_dict(private=True)["d"]) not in str(refused.value)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"error_description": "the key is unknown"}', "the key is unknown"),
        (b'{"resourceType": "OperationOutcome"}', "status 503: `epicrisis doctor` says"),
        (b"Bad Gateway", "status 503"),
        (b"[]", "status 503"),
    ],
)
def test_whoever_gets_no_token_is_told_why(body: bytes, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: object, **__: object) -> Any:
        raise HTTPError("http://here", 503, "", Message(), io.BytesIO(body))

    monkeypatch.setattr(client, "urlopen", refuses)
    with pytest.raises(Refused, match=f"no access token for his: {said}"):
        client.access_token("http://here/fhir", "his", KEY)
