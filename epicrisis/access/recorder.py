"""Records accesses before what was asked for leaves. Those that come at the same time share one transaction.

An access rests on nothing that was recorded before, so it is simply appended, behind whatever its patient has in the
journal of `access_audit`: that is a journal of its own, and the patient's clinical history is not touched.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from uuid import UUID

from epicrisis import logging
from epicrisis.access.api import Access, meta_of, subject_of
from epicrisis.codec import Codec, DataKey, KeyStore
from epicrisis.decider import Service
from epicrisis.errors import KeyLost, NotRecorded
from epicrisis.grouped import Grouped
from epicrisis.journal import Journal, Unnumbered
from epicrisis.lockstep import Lockstep

MOST = 256
"""So many accesses go into one transaction."""

log = logging.get(__name__)


class Recorder:
    """Share one between all threads of a process. Its own thread writes, while the others go on reading.

    ``service`` is `access_audit`'s, and ``journal``; ``keys`` must be able to make one, for a caller who is new.
    """

    def __init__(self, *, service: Service, journal: Journal, codec: Codec, keys: KeyStore) -> None:
        self._service = service
        self._journal = journal
        self._codec = codec
        self._keys = keys
        self._append: Grouped[Sequence[Unnumbered], None] = Grouped(self._append_all, size=len, most=MOST)
        self._thread = Lockstep(1, MOST, "access", linger=0)

    def submit(self, accesses: Sequence[Access]) -> Future[None]:
        """Done once all of these are committed. Its error is `NotRecorded`: then nothing may leave."""
        return self._thread.submit(self._record, accesses)

    def record(self, accesses: Sequence[Access]) -> None:
        """`submit`, and wait.

        Raises
        ------
        NotRecorded
            Nothing may leave.
        """
        for first in range(0, len(accesses), MOST):
            self.submit(accesses[first : first + MOST]).result()

    def _record(self, accesses: Sequence[Access]) -> None:
        try:
            self._append([self._event(access) for access in accesses])
        except Exception as error:
            log.error("an access cannot be recorded: nothing is given out", error=type(error).__name__)
            raise NotRecorded(NotRecorded.__doc__) from None

    def _append_all(self, some: Sequence[Sequence[Unnumbered]]) -> list[None]:
        self._journal.append_next([event for events in some for event in events])
        return [None] * len(some)

    def _event(self, access: Access) -> Unnumbered:
        subject = access.subject
        try:
            key = self._keys.for_subjects([subject])[subject]
        except KeyLost:  # the patient was erased: it is among what the caller did
            subject = subject_of(access.who)
            key = self._keys.for_subjects([subject])[subject]
        return self._sealed(access, subject, key)

    def _sealed(self, access: Access, subject: UUID, key: DataKey) -> Unnumbered:
        records = self._service.records
        assert records is not None, "the service that records accesses"
        to = records(access)
        (body,) = self._service.decide(to.command, self._service.initial())
        meta = meta_of(body, access.who, id=access.id, subject=subject, seq=0, stream=to.stream, when=access.when)
        before, after = self._codec.encode_unnumbered(meta, body, key)
        return Unnumbered(access.id, subject, to.stream, meta.type, access.when, before, after)
