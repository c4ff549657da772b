"""Values that several contexts' events share."""

from __future__ import annotations

from epicrisis.event import value


@value
class Coding:
    """A code with its system, as FHIR's Coding: the first coding that the sender gave, never translated."""

    system: str = ""
    code: str = ""
    display: str = ""

    @classmethod
    def of(cls, found: tuple[str | None, str | None, str | None] | None) -> Coding:
        """Of system, code and display as `epicrisis.fhir.values.coding` reads them; empty where there are none."""
        system, code, display = found or (None, None, None)
        return cls(system=system or "", code=code or "", display=display or "")

    @property
    def token(self) -> str:
        """``system|code``, as a FHIR search writes it; empty where there is no code."""
        return f"{self.system}|{self.code}" if self.code else ""
