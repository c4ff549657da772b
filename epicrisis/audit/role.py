"""The roles `checkpoint` and `witness`: one signs the state of the cluster every minute, the other cosigns it."""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from urllib.parse import urlsplit

import psycopg
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from epicrisis import logging, metrics
from epicrisis.audit.checkpoint import Checkpoints, Published
from epicrisis.audit.witness import MAX_REQUEST, Witness
from epicrisis.errors import Unreachable
from epicrisis.stopping import Signal

EVERY_SECONDS = 60.0
WAIT_SECONDS = 10.0

log = logging.get(__name__)


def run(
    checkpoints: Checkpoints,
    stop: Signal,
    *,
    every: float = EVERY_SECONDS,
    ask: Callable[[str, str], tuple[int, str]] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Make checkpoints until stopped; a database that is away is waited for.

    Raises
    ------
    Tampered
        What was signed before has been changed: nothing more is signed.
    """
    while not stop.is_set():
        began, more = clock(), False
        try:
            more = once(checkpoints, ask or post).more
        except (psycopg.OperationalError, psycopg.InterfaceError, Unreachable) as error:
            log.warning("checkpoint waits", error=type(error).__name__)
        if not more:
            stop.wait(max(0.0, every - (clock() - began)))


def once(checkpoints: Checkpoints, ask: Callable[[str, str], tuple[int, str]]) -> Published:
    """One checkpoint, and its cosignatures."""
    published = checkpoints.publish()
    trusted, silent, refused = checkpoints.witness(ask)
    for address, why in silent.items():
        log.warning("no cosignature", where=address, reason=why)
    for address, why in refused.items():
        log.error("a witness refuses", where=address, reason=why)
    log.info("checkpoint", checkpoint=published.number, count=published.events, trusted=trusted)
    metrics.checkpoint(trusted, len(silent), len(refused))
    return published


def post(address: str, request: str) -> tuple[int, str]:
    """A witness's answer to a checkpoint.

    Raises
    ------
    OSError
        It does not answer, or not in HTTP.
    """
    if urlsplit(address).scheme not in ("http", "https"):
        raise OSError(f"{address} is no HTTP address")
    call = urllib.request.Request(  # noqa: S310  (the scheme was looked at)
        f"{address.rstrip('/')}/add-checkpoint", request.encode(), {"Content-Type": "text/plain; charset=utf-8"}
    )
    try:
        with urllib.request.urlopen(call, timeout=WAIT_SECONDS) as answer:  # noqa: S310
            return answer.status, answer.read(MAX_REQUEST).decode(errors="replace")
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, refusal.read(1000).decode(errors="replace")
    except http.client.HTTPException as error:
        raise OSError(type(error).__name__) from None


def witness_app(witness: Witness) -> Starlette:
    """The witness over HTTP: ``POST /add-checkpoint``, and ``GET /`` for its keys."""

    async def add_checkpoint(request: Request) -> Response:
        raw = b""
        async for part in request.stream():
            raw += part
            if len(raw) > MAX_REQUEST:
                return PlainTextResponse("the request is too long\n", 413)
        answer = await run_in_threadpool(witness.add_checkpoint, raw)
        log.info("asked", status=answer.status)
        return Response(answer.body.encode(), answer.status, media_type=None, headers={"content-type": answer.type})

    async def keys(_: Request) -> Response:
        return PlainTextResponse("".join(f"{key}\n" for key in witness.signer.keys))

    return Starlette(routes=[Route("/add-checkpoint", add_checkpoint, methods=["POST"]), Route("/", keys)])
