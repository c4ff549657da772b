"""Records to read over HTTP: taken in and readable, and what a client asks of them."""

from __future__ import annotations

import time
from contextlib import suppress

import httpx
import orjson

from bench.bundles import bundles
from bench.door import OPERATOR, SITE
from epicrisis.assembly import intake
from epicrisis.errors import Refused
from epicrisis.lag import Lag
from epicrisis.ledger import LEDGER
from epicrisis.settings import Settings


def fill(settings: Settings, resources: int) -> None:
    """Take in so many resources of the operator of `bench.door`, and wait until they can be read."""
    taker, lag = intake(settings), Lag(settings)
    for sent in bundles(resources, "general"):
        with suppress(Refused):  # simulated ones may name another operator's directory
            taker.receive(sent.raw, operator=OPERATOR, clinic=f"{OPERATOR}/{SITE}", door="bench")
    lag.wait(120, [*lag.current(), LEDGER])
    lag.close()


def patients(client: httpx.Client) -> list[str]:
    """The ids of a hundred patients at most."""
    answer = client.get("/Patient", params={"_count": 100}).raise_for_status()
    return [entry["resource"]["id"] for entry in orjson.loads(answer.content).get("entry", [])]


def coded(client: httpx.Client, patient: str) -> list[str]:
    """A search for each code that this patient's Observations have, a few of them."""
    answer = client.get("/Observation", params={"patient": patient, "_count": 1000}).raise_for_status()
    codes = {
        f"{coding['system']}|{coding['code']}"
        for entry in orjson.loads(answer.content).get("entry", [])
        for coding in entry["resource"]["code"].get("coding", [])
        if "system" in coding
    }
    return [str(httpx.URL("/Observation", params={"patient": patient, "code": code})) for code in sorted(codes)[:10]]


def took(client: httpx.Client, url: str) -> float:
    """How long one reading took, in ms."""
    began = time.perf_counter()
    client.get(url).raise_for_status()
    return 1000 * (time.perf_counter() - began)
