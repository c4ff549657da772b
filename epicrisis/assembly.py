"""Put the parts together from the settings: the only place where a role's process is wired."""

from __future__ import annotations

import gc
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import cache, partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from uuid import UUID

import psycopg

from epicrisis import replay
from epicrisis.access.api import ACCESS
from epicrisis.access.glass import BreakGlass
from epicrisis.access.recorder import Recorder
from epicrisis.access.seen import delivered
from epicrisis.codec import Catalogue, Codec, Dictionaries, LocalWrapping, MemoryKeyStore, PostgresKeyStore
from epicrisis.codec.fingerprint import remember
from epicrisis.database import Database, briefly
from epicrisis.errors import EpicrisisError
from epicrisis.fhir.codes import Codes
from epicrisis.found import projection, projections, services, takers
from epicrisis.intake import Intake
from epicrisis.intake.identity import Digests
from epicrisis.intake.inbox import PostgresInbox, Unmapped
from epicrisis.intake.terms import terms_of
from epicrisis.journal import PostgresJournal
from epicrisis.ledger import LEDGER, LedgerFollower, history
from epicrisis.operators import read_operators
from epicrisis.projecting import generations
from epicrisis.projecting.decoding import Decoder
from epicrisis.projecting.delivery import Consumer
from epicrisis.projecting.follower import ProjectionFollower
from epicrisis.projecting.missing import journal_reader
from epicrisis.projecting.parking import Missing
from epicrisis.projecting.postgres import PostgresStore
from epicrisis.projection import Projection
from epicrisis.quarantine import Quarantine
from epicrisis.quarantine.store import PostgresStore as QuarantineStore
from epicrisis.replay import ALL, Fact, When, facts
from epicrisis.settings import Settings

if TYPE_CHECKING:  # it needs kafka-python, which takes an eighth of a second to import
    from epicrisis.worker import Worker


@cache
def codec() -> Codec:
    """The codec with the released schemas and dictionaries."""
    return Codec(Catalogue.load(), Dictionaries.load())


def key_store(settings: Settings, role: str) -> PostgresKeyStore:
    """The subjects' data keys, as this role may see them."""
    return PostgresKeyStore(settings.dsn_for("keys", role), LocalWrapping(settings.wrapping_key_bytes()))


def journals(
    settings: Settings, names: Iterable[str], on_append: Callable[[str, Collection[int]], None] | None = None
) -> dict[str, PostgresJournal]:
    """The journals of these services, each with that service's own role."""

    def listener(name: str) -> Callable[[Collection[int]], None] | None:
        return None if on_append is None else lambda slices: on_append(name, slices)

    return {
        name: PostgresJournal(name, Database(settings.dsn_for(name, name), name=name), listener(name)) for name in names
    }


def intake(settings: Settings, on_append: Callable[[str, Collection[int]], None] | None = None) -> Intake:
    """An intake with connections of its own, for one thread; see `intakes`."""
    return intakes(settings, on_append)()


def intakes(
    settings: Settings, on_append: Callable[[str, Collection[int]], None] | None = None
) -> Callable[[], Intake]:
    """Makes intakes, one for each message at hand, that share their connections.

    Raises
    ------
    SettingsError
        The wrapping key is not the one of these databases: patients would not be recognised, and double.
    """
    with briefly(settings.dsn_for("keys", "intake"), name="keys") as keys, keys.transaction() as cur:
        remember(cur, settings.wrapping_key_bytes())
    return partial(
        Intake,
        services=takers(),
        journals=journals(settings, takers(), on_append),
        # one session has the locks on the messages at hand, the others ask
        inbox=PostgresInbox(Database(settings.dsn_for("intake", "intake"), size=8, name="intake")),
        codec=codec(),
        keys=key_store(settings, "intake"),
        digests=Digests(settings.wrapping_key_bytes()),
        terms=terms_of(read_operators(settings.operators_folder)),
    )


def recorder(settings: Settings, on_append: Callable[[str, Collection[int]], None] | None = None) -> Recorder:
    """Records accesses: one for a process, shared by its threads."""
    return Recorder(service=services()[ACCESS], **_access(settings, on_append))


def break_glass(settings: Settings, on_append: Callable[[str, Collection[int]], None] | None = None) -> BreakGlass:
    """Breaks glasses, and knows which are broken."""
    return BreakGlass(service=services()[ACCESS], **_access(settings, on_append))


def _access(settings: Settings, on_append: Callable[[str, Collection[int]], None] | None) -> dict[str, Any]:
    return {
        "journal": journals(settings, [ACCESS], on_append)[ACCESS],
        "codec": codec(),
        "keys": key_store(settings, ACCESS),
    }


def unmapped_codes(settings: Settings) -> list[Unmapped]:
    """The local codes that were let in, and that the code maps do not have, by now, most frequent first."""
    terms = terms_of(read_operators(settings.operators_folder))
    with briefly(settings.dsn_for("intake", "reader"), name="intake") as database:
        found = PostgresInbox(database).unmapped()
    nothing = Codes()
    maps = {name: one.codes for name, one in terms.items()}
    return [one for one in found if not maps.get(one.operator, nothing).knows(one.system, one.code)]


def quarantine(settings: Settings, role: str = "intake") -> Quarantine:
    """What the doors refused: kept and settled as ``intake``, seen as ``auditor`` or, without content, ``reader``."""
    database = Database(settings.dsn_for("intake", role), size=2, name="intake")
    keys = MemoryKeyStore() if role == "reader" else key_store(settings, role)
    return Quarantine(QuarantineStore(database), keys)


def followed(cur: psycopg.Cursor[Any], names: Sequence[str] = ()) -> list[Consumer]:
    """Whom workers of this release follow the log for: the ledger, always first, and the projections' generations.

    Raises
    ------
    EpicrisisError
        Of those named there is nothing to follow: another version is live than this release's.
    """
    wanted = list(names) or [LEDGER, *projections()]
    found: list[Consumer] = [LedgerFollower()] if LEDGER in wanted else []
    code = [projection(name) for name in wanted if name != LEDGER]
    found += [ProjectionFollower(one) for one in sorted(generations.followed(cur, code), key=lambda one: one.schema)]
    if not found:
        raise EpicrisisError(f"another version is read than this release's: `epicrisis rebuild {' '.join(wanted)}`")
    return found


def worker(settings: Settings, names: Sequence[str] = ()) -> Worker:
    """A worker for the ledger and all projections, or those named, in the group of all workers for the same ones."""
    from epicrisis.worker import Worker

    database = Database(settings.dsn_for("cluster", "worker"), size=1, name="cluster")
    return Worker(
        settings,
        (),
        store=PostgresStore(database),
        decoder=decoder(settings, names),
        missing=missing(settings),
        group=_group(names),
        following=lambda at: followed(at.cur, names),
        applier=ThreadPoolExecutor(1, "apply"),
    )


def decoder(settings: Settings, names: Sequence[str] = ()) -> Decoder:
    """What unseals for these projections, by default for all."""
    wanted = [name for name in names or projections() if name != LEDGER]
    return Decoder(codec(), key_store(settings, "worker"), [ProjectionFollower(projection(name)) for name in wanted])


def missing(settings: Settings) -> Missing:
    """Fetches from the journals what a consumer has missed."""
    return journal_reader(settings, services())


def history_of(
    settings: Settings,
    subject: UUID,
    when: When = ALL,
    *,
    seen_by: str = "",
    of: Projection | None = None,
) -> list[Fact] | None:
    """A subject's history from the ledger, as the auditor reads it; None where the ledger does not know the subject.

    ``seen_by``: only what this operator had seen, by ``when.known_at``; ``of``: only what this projection hears, with
    the resources if it reads them.
    """
    with briefly(settings.dsn_for("cluster", "auditor"), name="cluster") as database, database.transaction() as cur:
        entries = history(cur, subject)
        given = delivered(cur, seen_by, subject, when.known_at) if seen_by else {}
    if not entries:
        return None
    with closing(key_store(settings, "auditor")) as keys:
        known = facts(entries, codec(), keys, when, of, resources=False)
        return list(replay.seen_by(known, seen_by, given) if seen_by else known)


def seldom_collect() -> None:
    """Look for cycles of garbage seldom: batches make many objects and no cycles.

    The looking was a fifth of a worker's processor time (190 against 140 µs an event, in one process, in turns).
    """
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)


@contextmanager
def collecting_seldom() -> Iterator[None]:
    """`seldom_collect` for a while, in a process that does other things too."""
    before = gc.get_threshold()
    seldom_collect()
    try:
        yield
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)


def _group(names: Sequence[str]) -> str:
    """All workers for the same consumers share their partitions; the default ones are simply ``worker``."""
    if not names:
        return "worker"
    if len(names) == 1:
        return f"worker.{names[0]}"
    return f"worker.{sha256(' '.join(sorted(names)).encode()).hexdigest()[:8]}"
