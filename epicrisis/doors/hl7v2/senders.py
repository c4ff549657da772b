"""Who sends: MSH-3 and MSH-4, and over TLS the client's certificate, to operator and clinic; from the manifests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from epicrisis.operators import Operator, Sender


class Caller(NamedTuple):
    """An operator and one of its clinics (``operator/site``)."""

    operator: str
    clinic: str


class Senders:
    """All senders of all operators."""

    def __init__(self, operators: Mapping[str, Operator]) -> None:
        self._known: dict[tuple[str, str, str], Caller] = {}
        for operator in operators.values():
            for sender in operator.mllp:
                self._known[_key(sender)] = Caller(operator.name, operator.clinic(sender.clinic))

    def find(self, application: str, facility: str, certificate: str = "") -> Caller | None:
        """Whose message this is, the most exact entry first; None where nobody's.

        ``certificate``: the SHA-256 fingerprint of the client's, empty without TLS. An entry that names a certificate
        is found by nobody else, and over TLS only those are found.
        """
        for named in ((application, facility), (application, ""), ("", facility), ("", "")):
            if found := self._known.get((*named, certificate)):
                return found
        return None


def _key(sender: Sender) -> tuple[str, str, str]:
    return sender.application, sender.facility, sender.certificate.replace(":", "").lower()
