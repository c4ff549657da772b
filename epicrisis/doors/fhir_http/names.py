"""Under which ids of the cluster a resource may be that a client names by its own id, or by an identifier."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from uuid import UUID

from epicrisis.doors.fhir_http.query import IDENTIFIED, Identified, Named, is_uuid
from epicrisis.fhir.search import parameters
from epicrisis.intake.identity import Digests, resource_id
from epicrisis.journal import Journal


class Names:
    """``identifying``: per resource type the journal that indexes its senders' ids and identifiers."""

    def __init__(self, identifying: Mapping[str, Journal], digests: Digests) -> None:
        self._identifying = identifying
        self._digests = digests

    def ids(self, operator: str, named: Named | Identified, *, journals: bool = True) -> list[UUID]:
        """Where it may be: under this very id, under that of the operator's own id. Without ``journals`` nothing is
        asked: a patient's own id is not found then.
        """
        if isinstance(named, Identified):
            digest = self._digests.identifier(operator, named.resource_type, named.system, named.value)
            return self._known(named.resource_type, [digest])
        found = [UUID(named.id)] if is_uuid(named.id) else []
        for kind in named.types or sorted(parameters()):
            if kind != "Patient":
                found.append(UUID(resource_id(operator, kind, named.id)))
            if journals and kind in IDENTIFIED:
                found += self._known(kind, [self._digests.own_id(operator, kind, named.id)])
        return list(dict.fromkeys(found))

    def _known(self, resource_type: str, digests: Collection[bytes]) -> list[UUID]:
        journal = self._identifying.get(resource_type)
        if journal is None:
            return []
        found, _ = journal.who(digests, ())
        return list(found.values())
