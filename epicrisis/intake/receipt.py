"""What came of a message: the receipt, and how the inbox remembers it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeAlias
from uuid import UUID

from epicrisis.intake.deciding import Decided, Versions
from epicrisis.intake.items import Item

Did: TypeAlias = Literal["created", "updated", "unchanged", "deleted"]


class Outcome(NamedTuple):
    """What came of one entry. ``version``: how many versions of the resource there are, when the message is done."""

    resource_type: str
    id: str
    version: int
    did: Did


@dataclass(frozen=True, slots=True)
class Receipt:
    """What came of a message: resources in it, events per service, an outcome per entry, in order. ``repeated``: it was
    known already, and this is the first answer. ``unmapped``: how many different local codes no code map has. ``mark``:
    what the door gave with the message when it came first. ``patients``: whom it is about.
    """

    message: UUID
    resources: int
    events: Mapping[str, int] = field(default_factory=dict)
    repeated: bool = False
    entries: tuple[Outcome, ...] = ()
    unmapped: int = 0
    mark: str = ""
    patients: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """Events in all."""
        return sum(self.events.values())

    def result(self) -> dict[str, Any]:
        """As the inbox keeps it."""
        found = {
            "resources": self.resources,
            "events": dict(self.events),
            "entries": self.entries,
            "unmapped": self.unmapped,
            "patients": self.patients,
        }
        return {**found, "mark": self.mark} if self.mark else found

    @classmethod
    def again(cls, message: UUID, result: Mapping[str, Any]) -> Receipt:
        """The first answer, from what the inbox kept."""
        entries = tuple(Outcome(*one) for one in result.get("entries", ()))
        return cls(
            message,
            result["resources"],
            result["events"],
            repeated=True,
            entries=entries,
            unmapped=result.get("unmapped", 0),
            mark=result.get("mark", ""),
            patients=tuple(result.get("patients", ())),
        )


def outcomes(items: Sequence[Item], plan: Mapping[str, Decided]) -> tuple[Outcome, ...]:
    """What came of each entry, once everything is decided."""
    return tuple(_outcome(item, plan) for item in items)


def _outcome(item: Item, plan: Mapping[str, Decided]) -> Outcome:
    versions = Versions.of(item, plan)
    did: Did = "unchanged"
    if item.method == "DELETE":
        did = "deleted" if versions.changed else "unchanged"
    elif versions.after > versions.before:
        did = "updated" if versions.before else "created"
    return Outcome(item.resource_type, item.resource_id, versions.after, did)
