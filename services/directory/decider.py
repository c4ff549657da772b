"""What may happen to an entry of the directory: recorded, amended, retracted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias, assert_never

from epicrisis.decider import digest
from epicrisis.errors import Refused
from epicrisis.event import record, replace
from schemas.common import Coding
from schemas.directory import EntryAmended, EntryRecorded, EntryRetracted


@record
class RecordEntry:
    """The entry as sent. Fields that its type does not have are empty."""

    resource_type: str
    resource_id: str
    name: str
    active: bool
    specialties: tuple[Coding, ...]
    languages: tuple[str, ...]
    practitioner_id: str
    organization_id: str
    resource: bytes


@record
class RetractEntry:
    """The entry was a mistake."""


Command: TypeAlias = RecordEntry | RetractEntry
Event: TypeAlias = EntryRecorded | EntryAmended | EntryRetracted


@record
class State:
    """What later decisions need to know."""

    resource_type: str
    resource_id: str
    version: int
    digest: bytes
    retracted: bool = False


def initial() -> State | None:
    """The entry has not arrived."""
    return None


def decide(command: Command, state: State | None) -> Sequence[Event]:
    """What happens, or `Refused`."""
    match command:
        case RecordEntry():
            return _record(command, state)
        case RetractEntry():
            if state is None or state.retracted:
                return []
            return [
                EntryRetracted(
                    resource_type=state.resource_type,
                    resource_id=state.resource_id,
                    resource_version=state.version + 1,
                )
            ]
        case _:
            assert_never(command)


def _record(command: RecordEntry, state: State | None) -> Sequence[Event]:
    if state is None:
        return [
            EntryRecorded(
                resource_type=command.resource_type,
                resource_id=command.resource_id,
                name=command.name,
                active=command.active,
                specialties=command.specialties,
                languages=command.languages,
                practitioner_id=command.practitioner_id,
                organization_id=command.organization_id,
                resource=command.resource,
            )
        ]
    if state.digest == digest(command.resource):
        return []
    if state.retracted:
        raise Refused(f"this {command.resource_type} was entered in error and cannot be changed: send a new one")
    return [
        EntryAmended(
            resource_type=command.resource_type,
            resource_id=command.resource_id,
            resource_version=state.version + 1,
            name=command.name,
            active=command.active,
            specialties=command.specialties,
            languages=command.languages,
            practitioner_id=command.practitioner_id,
            organization_id=command.organization_id,
            resource=command.resource,
        )
    ]


def evolve(state: State | None, event: Event) -> State:
    """The state after an event."""
    match event:
        case EntryRecorded(resource_type=resource_type, resource_id=resource_id, resource=resource):
            return State(resource_type=resource_type, resource_id=resource_id, version=1, digest=digest(resource))
        case EntryAmended(resource_version=version, resource=resource):
            return replace(_known(state), version=version, digest=digest(resource))
        case EntryRetracted(resource_version=version):
            return replace(_known(state), version=version, retracted=True)
        case _:
            assert_never(event)


def _known(state: State | None) -> State:
    assert state is not None, "a stream starts with EntryRecorded"
    return state
