"""The read-only routes of a schema registry, so that kcat, AKHQ and Kafka Connect can decode the log.

The ids are those of the catalogue in the repository; nothing can be registered here. The routes and answers follow
Confluent's Schema Registry API, as far as clients that only read use it.
"""

from __future__ import annotations

import json
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from epicrisis.codec import Catalogue
from epicrisis.codec.catalogue import Release

MEDIA_TYPE = "application/vnd.schemaregistry.v1+json"
NO_SCHEMA, NO_SUBJECT, NO_VERSION = 40403, 40401, 40402


def routes(catalogue: Catalogue, topic: str) -> list[Route]:
    """GET ``/schemas/ids/{id}``, ``/subjects``, ``/subjects/{subject}/versions[/{version}]``, ``/config``, ``/mode``.

    The envelope is subject ``<topic>-value``; bodies are ``<context>.<Event>``, for who unseals them.
    """
    subjects: dict[str, dict[int, Release]] = {f"{topic}-value": {1: catalogue.envelope}}
    for release in catalogue.releases():
        subjects.setdefault(release.type, {})[release.version] = release
    by_id = {release.id: release for versions in subjects.values() for release in versions.values()}

    async def schema(request: Request) -> JSONResponse:
        release = by_id.get(request.path_params["id"])
        return _answer({"schema": _text(release)}) if release else _missing(NO_SCHEMA, "Schema not found")

    async def types(_: Request) -> JSONResponse:
        return _answer(["AVRO"])

    async def list_subjects(_: Request) -> JSONResponse:
        return _answer(sorted(subjects))

    async def versions(request: Request) -> JSONResponse:
        found = subjects.get(request.path_params["subject"])
        return _answer(sorted(found)) if found else _missing(NO_SUBJECT, "Subject not found")

    async def version(request: Request) -> JSONResponse:
        found = subjects.get(request.path_params["subject"])
        if not found:
            return _missing(NO_SUBJECT, "Subject not found")
        wanted = request.path_params["version"]
        number = max(found) if wanted in ("latest", "-1") else int(wanted) if wanted.isdigit() else 0
        release = found.get(number)
        if release is None:
            return _missing(NO_VERSION, "Version not found")
        subject = request.path_params["subject"]
        return _answer({"subject": subject, "version": number, "id": release.id, "schema": _text(release)})

    async def config(_: Request) -> JSONResponse:
        return _answer({"compatibilityLevel": "BACKWARD_TRANSITIVE"})

    async def mode(_: Request) -> JSONResponse:
        return _answer({"mode": "READONLY"})

    return [
        Route("/schemas/ids/{id:int}", schema),
        Route("/schemas/types", types),
        Route("/subjects", list_subjects),
        Route("/subjects/{subject}/versions", versions),
        Route("/subjects/{subject}/versions/{version}", version),
        Route("/config", config),
        Route("/mode", mode),
    ]


def _text(release: Release) -> str:
    return json.dumps(release.schema, separators=(",", ":"))


def _answer(content: Any, status: int = 200) -> JSONResponse:
    return JSONResponse(content, status_code=status, media_type=MEDIA_TYPE)


def _missing(code: int, message: str) -> JSONResponse:
    return _answer({"error_code": code, "message": message}, 404)
