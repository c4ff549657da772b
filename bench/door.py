"""FHIR over HTTP as a clinic system meets it: `epicrisis serve` in a process of its own, and a client with a token."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from joserfc.jwk import ECKey

from bench.stage import Role, listening
from epicrisis.doors.fhir_http.client import access_token
from epicrisis.local.process import LOOPBACK
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
    files = {"manifest.toml": _MANIFEST, "http.jwks.json": json.dumps({"keys": [key.as_dict(private=False)]})}
    with listening(settings, "serve", *words, operator=operator, files=files, module=module) as (role, port):
        base = f"http://{LOOPBACK}:{port}/fhir"
        headers = {"Authorization": f"Bearer {access_token(base, CLIENT, key)}"}
        with httpx.Client(base_url=base, headers=headers, timeout=60) as client:
            yield client, role
