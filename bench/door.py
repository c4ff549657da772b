"""FHIR over HTTP as a clinic system meets it: `epicrisis serve` in a process of its own, and a client with a token."""

from __future__ import annotations

import json
import os
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
from joserfc.jwk import ECKey

from bench.stage import Role
from epicrisis.doors.fhir_http.client import access_token
from epicrisis.settings import Settings

CLIENT, OPERATOR, SITE = "bench-http", "synthea", "main"
_MANIFEST = f"""\
title = "Bench"
country = "US"
clinics = ["{SITE}"]

[[client]]
id = "{CLIENT}"
clinic = "{SITE}"
scopes = ["system/*.cruds"]
jwks = "http.jwks.json"
"""


@contextmanager
def door(
    settings: Settings, *words: str, operator: str = OPERATOR, module: str = "epicrisis"
) -> Iterator[tuple[httpx.Client, Role]]:
    """A client of this operator, and the process that answers it; ``words`` are given to `serve`."""
    key = ECKey.generate_key("P-384", {"alg": "ES384", "use": "sig"}, auto_kid=True)
    with tempfile.TemporaryDirectory() as folder:
        own = Path(folder) / operator
        own.mkdir()
        (own / "manifest.toml").write_text(_MANIFEST, encoding="utf-8")
        (own / "http.jwks.json").write_text(json.dumps({"keys": [key.as_dict(private=False)]}), encoding="utf-8")
        before = os.environ.get("EPICRISIS_OPERATORS")
        os.environ["EPICRISIS_OPERATORS"] = folder
        try:
            port = _free_port()
            role = Role(settings, "serve", "--port", str(port), *words, module=module)
        finally:
            if before is None:
                del os.environ["EPICRISIS_OPERATORS"]
            else:
                os.environ["EPICRISIS_OPERATORS"] = before
        base = f"http://127.0.0.1:{port}/fhir"
        try:
            _await(role, port)
            headers = {"Authorization": f"Bearer {access_token(base, CLIENT, key)}"}
            with httpx.Client(base_url=base, headers=headers, timeout=60) as client:
                yield client, role
        finally:
            role.stop()


def _await(role: Role, port: int) -> None:
    deadline = time.monotonic() + 60
    while True:
        role.check()
        try:
            if httpx.get(f"http://127.0.0.1:{port}/health/live").status_code == 200:
                return
        except httpx.TransportError:
            pass
        if time.monotonic() > deadline:
            raise RuntimeError("the server did not come up")
        time.sleep(0.05)


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
