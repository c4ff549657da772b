"""The simulated operators, ready to come in by the front doors of this machine: manifests, key pairs for clients.

    <state>/operators/<operator>/manifest.toml, http.jwks.json      as an integration engineer would write them
    <state>/clients/<operator>-http.jwk.json                        the client's private key, mode 600

What is there already stays as it is: it may have been edited.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from joserfc.jwk import ECKey

from epicrisis.local.state import State, write
from epicrisis.operators import MANIFEST
from epicrisis.settings import Settings
from epicrisis.simulate.world import Site, world

JWKS = "http.jwks.json"
MODE = 0o644

_MANIFEST = """\
title = {title}
country = "{country}"
clinics = {clinics}

[[client]]
id = "{client}"
clinic = "{clinic}"
scopes = ["system/*.cruds"]
jwks = "{jwks}"

[[mllp]]
clinic = "{clinic}"
application = "HIS"
facility = "{operator}"

[inbox]
clinic = "{clinic}"
"""


def make(settings: Settings) -> list[str]:
    """Make what is missing; the operators that are new."""
    if settings.operators is not None:
        return []
    sites: dict[str, list[Site]] = {}
    for site in world(1).sites:
        sites.setdefault(site.operator, []).append(site)
    with State(settings.state).lock("operators.lock"):
        return [name for name, own in sites.items() if make_one(settings, name, own)]


def client_of(operator: str) -> str:
    """The id of an operator's HTTP client."""
    return f"{operator}-http"


def private_key(settings: Settings, client: str) -> Path:
    """The file with a client's private key."""
    return settings.state / "clients" / f"{client}.jwk.json"


def make_one(settings: Settings, name: str, sites: list[Site]) -> bool:
    """Make an operator's folder and its client's keys, unless it is there already: whether it was made."""
    folder = settings.operators_folder / name
    if (folder / MANIFEST).exists():
        return False
    folder.mkdir(parents=True, exist_ok=True)
    client = client_of(name)
    _write(folder / JWKS, json.dumps({"keys": [_key_pair(private_key(settings, client))]}, indent=1))
    text = _MANIFEST.format(
        title=json.dumps(sites[0].operator_name, ensure_ascii=False),
        country=sites[0].country.code.upper(),
        clinics=json.dumps([site.site for site in sites]),
        client=client,
        operator=name,
        clinic=sites[0].site,
        jwks=JWKS,
    )
    _write(folder / MANIFEST, text)
    return True


def _key_pair(file: Path) -> Mapping[str, object]:
    """Keep a new private key; its public half."""
    key = ECKey.generate_key("P-384", {"alg": "ES384", "use": "sig"}, auto_kid=True)
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write(file, key.as_dict(private=True))
    return key.as_dict(private=False)


def _write(file: Path, text: str) -> None:
    new = file.with_name(f".{file.name}")
    new.write_text(text, encoding="utf-8")
    new.chmod(MODE)
    new.replace(file)
