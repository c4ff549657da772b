"""Values that several contexts' events share."""

from __future__ import annotations

from typing import Any

from epicrisis.event import value
from epicrisis.fhir.codes import Fact


@value
class Coding:
    """A code with its system, as FHIR's Coding; ``local`` is the sender's own one, where it is of no standard system.

    By the operator's code map a local code stands for a standard one: that is then ``system`` and ``code``. Where
    ``local`` (``system|code``) is the same as ``token``, no standard code is known.
    """

    system: str = ""
    code: str = ""
    display: str = ""
    local: str = ""

    @classmethod
    def of(cls, fact: Fact) -> Coding:
        """Of a code as `epicrisis.fhir.codes` reads it; empty where there is none."""
        return cls(system=fact.system, code=fact.code, display=fact.display, local=fact.local)

    @property
    def unmapped(self) -> bool:
        """Whether it is a local code for which no standard one is known."""
        return self.local != "" and self.local == self.token

    @property
    def token(self) -> str:
        """``system|code``, as a FHIR search writes it; empty where there is no code."""
        return f"{self.system}|{self.code}" if self.code else ""


def with_local(body: dict[str, Any], *names: str) -> dict[str, Any]:
    """Lift the Codings of an old body: before there were code maps, codes were taken as they came."""
    return {**body, **{name: _with_local(body[name]) for name in names}}


def _with_local(coding: Any) -> Any:
    return [_with_local(one) for one in coding] if isinstance(coding, list) else {**coding, "local": ""}
