"""Chart: every other clinical resource, with its versions.

Streams are ``<ResourceType>/<id>``. The resource stays byte for byte; the facts are what a chart is searched by.
"""

from __future__ import annotations

from epicrisis.event import event
from schemas.common import Coding


@event(version=2)
class ResourceRecorded:
    """A resource arrived for the first time. ``date`` is the FHIR date or dateTime it is about, or empty."""

    resource_type: str
    resource_id: str
    status: str
    category: Coding
    code: Coding
    date: str
    encounter_id: str
    resource: bytes


@event(version=2)
class ResourceAmended:
    """The resource was sent again with other content: ``version`` counts from 2."""

    resource_type: str
    resource_id: str
    resource_version: int
    status: str
    category: Coding
    code: Coding
    date: str
    encounter_id: str
    resource: bytes


@event(version=1)
class ResourceRetracted:
    """The resource was a mistake. ``resource`` is the entered-in-error version, or empty where it was deleted."""

    resource_type: str
    resource_id: str
    resource_version: int
    resource: bytes
