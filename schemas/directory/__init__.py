"""Directory: organisations, places, practitioners, their roles and services: also the register of consultants.

Each entry is a subject of its own; its stream is ``<ResourceType>/<id>``. Fields that a type does not have are empty.
"""

from __future__ import annotations

from epicrisis.event import event
from schemas.common import Coding


@event(version=2)
class EntryRecorded:
    """An entry is known for the first time. ``languages`` are BCP 47 codes."""

    resource_type: str
    resource_id: str
    name: str
    active: bool
    specialties: tuple[Coding, ...]
    languages: tuple[str, ...]
    practitioner_id: str
    organization_id: str
    resource: bytes


@event(version=2)
class EntryAmended:
    """The entry was sent again with other content."""

    resource_type: str
    resource_id: str
    resource_version: int
    name: str
    active: bool
    specialties: tuple[Coding, ...]
    languages: tuple[str, ...]
    practitioner_id: str
    organization_id: str
    resource: bytes


@event(version=1)
class EntryRetracted:
    """The entry was a mistake."""

    resource_type: str
    resource_id: str
    resource_version: int
