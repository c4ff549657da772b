"""Under which ids of the cluster a resource may be that a client names by its own id, or by an identifier."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime
from uuid import UUID

from epicrisis.doors.fhir_http.query import IDENTIFIED, Identified, Named, is_uuid
from epicrisis.fhir.search import parameters
from epicrisis.intake.identity import Digests, resource_id
from epicrisis.journal import Journal


class Names:
    """``identifying``: per resource type the journal that indexes its senders' ids and identifiers; ``keeping``: those
    that may keep resources of a type, and know by which identifiers they are found that several may share.
    """

    def __init__(
        self, identifying: Mapping[str, Journal], keeping: Callable[[str], Iterable[Journal]], digests: Digests
    ) -> None:
        self._identifying = identifying
        self._keeping = keeping
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

    def having(self, operator: str, resource_type: str, identified: Iterable[Identified]) -> dict[UUID, datetime]:
        """The resources that have had one of these identifiers, each with when it was last recorded with one."""
        digests = [self._digests.identifier(operator, resource_type, one.system, one.value) for one in identified]
        found: dict[UUID, datetime] = {}
        for journal in self._keeping(resource_type):
            for _, id_, recorded in journal.named(digests):
                found[id_] = max(recorded, found.get(id_, recorded))
        return found

    def _known(self, resource_type: str, digests: Collection[bytes]) -> list[UUID]:
        journal = self._identifying.get(resource_type)
        if journal is None:
            return []
        found, _ = journal.who(digests, ())
        return list(found.values())
