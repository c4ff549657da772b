"""What may happen to a resource that is simply kept: recorded, amended, retracted.

Nine of ten resources come this way: what is built here is built ten thousand times a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias, assert_never

from epicrisis.errors import Refused
from epicrisis.event import record
from schemas.chart import ResourceAmended, ResourceRecorded, ResourceRetracted
from schemas.common import Coding


@record
class RecordResource:
    """The resource as sent, with the facts that a chart is searched by."""

    resource_type: str
    resource_id: str
    status: str
    category: Coding
    code: Coding
    date: str
    encounter_id: str
    resource: bytes


@record
class RetractResource:
    """The resource was a mistake. ``resource`` is the version that says so, empty where it was deleted."""

    resource_type: str
    resource_id: str
    resource: bytes


Command: TypeAlias = RecordResource | RetractResource
Event: TypeAlias = ResourceRecorded | ResourceAmended | ResourceRetracted


@record
class State:
    """What later decisions need to know.

    ``resource`` is the latest version itself, not a digest: it is in memory anyway, and comparing is cheaper.
    """

    version: int
    resource: bytes
    retracted: bool


def initial() -> State | None:
    """The resource has not arrived."""
    return None


def decide(command: Command, state: State | None) -> Sequence[Event]:
    """What happens, or `Refused`."""
    match command:
        case RecordResource():
            return _record(command, state)
        case RetractResource(resource=resource):
            if state is None and not resource:
                return []  # deleted, and never heard of here: another service keeps it, or nobody
            if state is not None and state.retracted:
                return []
            return [
                ResourceRetracted(
                    resource_type=command.resource_type,
                    resource_id=command.resource_id,
                    resource_version=1 if state is None else state.version + 1,
                    resource=resource,
                )
            ]
        case _:
            assert_never(command)


def _record(command: RecordResource, state: State | None) -> Sequence[Event]:
    if state is None:
        return [
            ResourceRecorded(
                resource_type=command.resource_type,
                resource_id=command.resource_id,
                status=command.status,
                category=command.category,
                code=command.code,
                date=command.date,
                encounter_id=command.encounter_id,
                resource=command.resource,
            )
        ]
    if state.resource == command.resource:
        return []
    if state.retracted:
        raise Refused(f"this {command.resource_type} was entered in error and cannot be changed: send a new one")
    return [
        ResourceAmended(
            resource_type=command.resource_type,
            resource_id=command.resource_id,
            resource_version=state.version + 1,
            status=command.status,
            category=command.category,
            code=command.code,
            date=command.date,
            encounter_id=command.encounter_id,
            resource=command.resource,
        )
    ]


def evolve(state: State | None, event: Event) -> State:
    """The state after an event."""
    match event:
        case ResourceRecorded(resource=resource):
            return State(version=1, resource=resource, retracted=False)
        case ResourceAmended(resource_version=version, resource=resource):
            return State(version=version, resource=resource, retracted=False)
        case ResourceRetracted(resource_version=version, resource=resource):
            return State(version=version, resource=resource, retracted=True)
        case _:
            assert_never(event)
