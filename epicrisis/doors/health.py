"""Is the process alive, can it reach what it needs, and its figures for Prometheus."""

from __future__ import annotations

from collections.abc import Mapping

import psycopg
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from epicrisis.database import Database
from epicrisis.errors import Unreachable
from epicrisis.metrics import counted


def routes(databases: Mapping[str, Database]) -> list[Route]:
    """GET ``/health/live``, ``/health/ready`` (503 names the databases that do not answer) and ``/metrics``."""

    def look() -> dict[str, str]:
        found: dict[str, str] = {}
        for name, database in databases.items():
            try:
                with database.transaction() as cur:
                    cur.execute("SELECT 1")
                found[name] = "ok"
            except (Unreachable, psycopg.Error) as error:
                found[name] = type(error).__name__
        return found

    async def live(_: Request) -> JSONResponse:
        return JSONResponse({"status": "ok"})

    async def ready(_: Request) -> JSONResponse:
        parts = await run_in_threadpool(look)
        good = all(state == "ok" for state in parts.values())
        return JSONResponse({"status": "ok" if good else "not ready", "parts": parts}, 200 if good else 503)

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(counted()), media_type=CONTENT_TYPE_LATEST)

    return [Route("/health/live", live), Route("/health/ready", ready), Route("/metrics", metrics)]
