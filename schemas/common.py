"""Values that several contexts' events share."""

from __future__ import annotations

from epicrisis.event import value


@value
class Coding:
    """A code with its system, as FHIR's Coding: the first coding that the sender gave, never translated."""

    system: str = ""
    code: str = ""
    display: str = ""
