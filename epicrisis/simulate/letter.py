"""A message under construction: the entries of one Bundle that a clinic sends at one moment."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from epicrisis.simulate.chance import Chance
from epicrisis.simulate.fhir import Json, dumps
from epicrisis.simulate.world import Site


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A Bundle as a clinic sends it. ``expect_refused``: a deliberate mistake, which nobody may let in."""

    name: str
    operator: str
    clinic: str
    bundle: bytes
    resource_types: tuple[str, ...]
    sent: datetime
    expect_refused: bool = False


class Letter:
    """Collects entries; references between them are by urn:uuid, to what went before by ``Type/id``."""

    def __init__(self, chance: Chance, site: Site, at: datetime) -> None:
        self.chance = chance
        self.site = site
        self.at = at
        self._entries: list[Json] = []
        self._types: list[str] = []

    def time(self, minutes: float = 0) -> str:
        """The letter's moment, so many minutes later, in the site's own time zone."""
        return (self.at + timedelta(minutes=minutes)).astimezone(self.site.country.zone).isoformat(timespec="seconds")

    def date(self) -> str:
        """The letter's day."""
        return self.time()[:10]

    def post(self, resource: Json) -> Json:
        """Add a new resource that nobody will change; returns a reference to it."""
        return self._add(resource, {"method": "POST", "url": resource["resourceType"]})

    def put(self, resource: Json) -> Json:
        """Add a resource under its own id, which a later message may change; returns a reference to it."""
        return self._add(resource, {"method": "PUT", "url": f"{resource['resourceType']}/{resource['id']}"})

    def delete(self, kind: str, ident: str) -> None:
        """Take a resource back: it was a mistake."""
        self._types.append(kind)
        self._entries.append({"request": {"method": "DELETE", "url": f"{kind}/{ident}"}})

    def _add(self, resource: Json, request: Json) -> Json:
        full = f"urn:uuid:{self.chance.uuid()}"
        self._types.append(resource["resourceType"])
        self._entries.append({"fullUrl": full, "resource": resource, "request": request})
        return {"reference": full}

    def message(self, name: str, *, sent: datetime | None = None, kind: str = "transaction") -> Message:
        """The finished Bundle."""
        source = f"urn:epicrisis:clinic:{self.site.clinic}"
        bundle: Json = {"resourceType": "Bundle", "meta": {"source": source}, "type": kind}
        if kind in ("collection", "batch"):
            bundle["timestamp"] = self.time()
        entries = self._entries
        if kind == "collection":  # a collection has no requests: what it holds is simply put
            entries = [{key: value for key, value in entry.items() if key != "request"} for entry in entries]
        return Message(
            name=name,
            operator=self.site.operator,
            clinic=self.site.clinic,
            bundle=dumps(bundle | {"entry": entries}),
            resource_types=tuple(self._types),
            sent=sent or self.at,
        )
