"""Records accesses before what was asked for leaves. Those that come at the same time share one transaction.

An access rests on nothing that was recorded before, so it is simply appended, behind whatever its patient has in the
journal of `access_audit`: that is a journal of its own, and the patient's clinical history is not touched.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from uuid import UUID

from epicrisis import logging
from epicrisis.access.api import Access, subject_of
from epicrisis.codec import Codec, DataKey, KeyStore
from epicrisis.decider import Service
from epicrisis.errors import KeyLost, NotRecorded
from epicrisis.event import Meta, event_type, event_version
from epicrisis.journal import Journal, Unnumbered

MOST = 256
"""So many accesses go into one transaction."""

log = logging.get(__name__)

_Waiting = tuple[Sequence[Access], "Future[None]"]


class Recorder:
    """Share one between all threads of a process. Its own thread writes, while the others go on reading.

    ``service`` is `access_audit`'s, and ``journal``; ``keys`` must be able to make one, for a caller who is new.
    """

    def __init__(self, *, service: Service, journal: Journal, codec: Codec, keys: KeyStore) -> None:
        self._service = service
        self._journal = journal
        self._codec = codec
        self._keys = keys
        self._waiting: deque[_Waiting] = deque()
        self._news = threading.Condition()
        self._writer: threading.Thread | None = None

    def submit(self, accesses: Sequence[Access]) -> Future[None]:
        """Done once all of these are committed. Its error is `NotRecorded`: then nothing may leave."""
        future: Future[None] = Future()
        with self._news:
            if self._writer is None:
                self._writer = threading.Thread(target=self._write, name="access", daemon=True)
                self._writer.start()
            self._waiting.append((accesses, future))
            self._news.notify()
        return future

    def record(self, accesses: Sequence[Access]) -> None:
        """`submit`, and wait.

        Raises
        ------
        NotRecorded
            Nothing may leave.
        """
        for first in range(0, len(accesses), MOST):
            self.submit(accesses[first : first + MOST]).result()

    def _write(self) -> None:
        while True:
            with self._news:
                while not self._waiting:
                    self._news.wait()
                some = self._taken()
            self._commit(some)

    def _taken(self) -> list[_Waiting]:
        taken: list[_Waiting] = []
        count = 0
        while self._waiting and (not taken or count + len(self._waiting[0][0]) <= MOST):
            accesses, future = self._waiting.popleft()
            if future.set_running_or_notify_cancel():  # or nobody waits for this answer any more
                taken.append((accesses, future))
                count += len(accesses)
        return taken

    def _commit(self, some: Sequence[_Waiting]) -> None:
        events: list[Unnumbered] = []
        done: list[Future[None]] = []
        for accesses, future in some:
            try:
                events += [self._event(access) for access in accesses]
                done.append(future)
            except Exception as error:
                self._fail([future], error)
        try:
            if events:
                self._journal.append_next(events)
        except Exception as error:
            self._fail(done, error)
        else:
            for future in done:
                future.set_result(None)

    def _fail(self, futures: Sequence[Future[None]], error: Exception) -> None:
        log.error("accesses cannot be recorded: nothing is given out", count=len(futures), error=type(error).__name__)
        for future in futures:
            future.set_exception(NotRecorded(NotRecorded.__doc__))

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
        meta = Meta(
            id=access.id,
            type=event_type(body),
            version=event_version(body),
            source=self._service.name,
            operator=access.who.operator,
            clinic=access.who.clinic,
            subject=subject,
            seq=0,
            stream=to.stream,
            effective=access.when,
            recorded=access.when,
        )
        before, after = self._codec.encode_unnumbered(meta, body, key)
        return Unnumbered(access.id, subject, to.stream, meta.type, access.when, before, after)
