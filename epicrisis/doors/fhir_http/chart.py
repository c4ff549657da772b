"""The charts as one clinic may see them: rows of the read model, and the resources' bytes out of the ledger.

Everything goes through the role ``door``: by views that show the subjects of the clinic's roster and the directory, and
nothing else, whatever is asked.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeAlias
from uuid import UUID

import psycopg
from psycopg import sql

from epicrisis.access.api import Accessed
from epicrisis.codec import Codec, KeyStore
from epicrisis.database import Database
from epicrisis.doors.fhir_http.answers import told
from epicrisis.doors.fhir_http.query import Sort, When, Word
from epicrisis.errors import Poison
from epicrisis.slices import slice_of
from epicrisis.sql import array, literal, queries

_SQL = queries("epicrisis.doors.fhir_http")

DIRECTORY = ("Organization", "Location", "Practitioner", "PractitionerRole", "HealthcareService")
"""The types that belong to no patient and that everybody may read."""
CHANGING = ("Condition", "ServiceRequest", "Encounter", "EpisodeOfCare")
"""The types that more than one service may keep: of one resource there may be several rows."""
_NEVER = datetime(9999, 12, 31, tzinfo=UTC)
_EVER = datetime(1, 1, 2, tzinfo=UTC)

_NAMED = "SELECT subject FROM read.cluster_chart_word_seen WHERE"
_ROW = sql.SQL("resource_id, subject, source, resource_type, version, recorded, retracted, seqs[version]")
_COMPARED = {
    "eq": "{b} >= %(p)s AND {e} <= %(q)s",
    "ne": "NOT ({b} >= %(p)s AND {e} <= %(q)s)",
    "gt": "{e} > %(q)s",
    "lt": "{b} < %(p)s",
    "ge": "({e} > %(q)s OR ({b} >= %(p)s AND {e} <= %(q)s))",
    "le": "({b} < %(p)s OR ({b} >= %(p)s AND {e} <= %(q)s))",
    "sa": "{b} >= %(q)s",
    "eb": "{e} <= %(p)s",
}
"""How the moments p to q of a search compare with those, b to e, of a resource."""


class Row(NamedTuple):
    """A resource's newest version, as one service keeps it. ``seq`` is the event that holds it."""

    id: UUID
    subject: UUID
    source: str
    resource_type: str
    version: int
    recorded: datetime
    retracted: bool
    seq: int
    before: int = 0
    """How many versions other services kept before."""

    @property
    def place(self) -> Place:
        return Place(self.subject, self.source, self.seq)


Rows: TypeAlias = list[tuple[Row, tuple[int, ...]]]
"""Rows, each with the events of its versions."""


class Place(NamedTuple):
    """Where an event lies in the ledger."""

    subject: UUID
    source: str
    seq: int


class Kept(NamedTuple):
    """A version as the ledger has it. ``raw`` is empty where its event brought no bytes, None where the key is gone."""

    recorded: datetime
    raw: bytes | None


class Version(NamedTuple):
    """One version of a resource."""

    row: Row
    number: int
    place: Place
    recorded: datetime


class Condition:
    """What rows must be like: SQL, written in this module alone, and its values."""

    def __init__(self) -> None:
        self._parts: list[sql.Composable] = []
        self.values: dict[str, Any] = {}
        self.narrow = False
        """Few rows are meant: they are all found first, and then put in order."""

    def add(self, text: str, value: Any = None) -> None:
        """One condition; ``{}`` in it stands for the value."""
        if "{}" in text:
            name = f"v{len(self.values)}"
            self.values[name] = value
            text = text.replace("{}", f"%({name})s")
        self._parts.append(sql.SQL(literal(text)))

    def when(self, whens: Sequence[When], begin: str, end: str) -> None:
        """A date that compares as one of these want it."""
        texts = []
        for one in whens:
            p, q = f"v{len(self.values)}", f"v{len(self.values) + 1}"
            self.values |= {p: one.begin, q: one.end}
            text = _COMPARED[one.prefix].format(b=begin, e=end)
            texts.append(f"({text.replace('%(p)s', f'%({p})s').replace('%(q)s', f'%({q})s')})")
        self._parts.append(sql.SQL(literal(f"({' OR '.join(texts)})")))

    def sql(self) -> sql.Composable:
        return sql.SQL(" AND ").join(self._parts)


class Chart:
    """Opens the charts for one clinic at a time. Share one between threads."""

    def __init__(self, database: Database, codec: Codec, keys: KeyStore) -> None:
        self._database = database
        self._codec = codec
        self._keys = keys

    @contextmanager
    def seen_by(self, clinic: str, accessed: Accessed, opened: UUID | None = None) -> Iterator[View]:
        """What this clinic sees, in one transaction; what is read of it is noted in ``accessed``.

        ``opened``: one patient more, for whom a glass was broken.

        Raises
        ------
        Told
            503: a query takes too long; or the chart is that of an earlier release, and has to be rebuilt.
        """
        try:
            with self._database.transaction(clinic=clinic, opened=opened) as cur:
                yield View(cur, self._codec, self._keys, accessed)
        except psycopg.errors.QueryCanceled:
            raise told(503, "too-costly", "this takes too long: name a patient, or ask for less") from None
        except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn):
            raise told(503, "transient", "charts cannot be read before `epicrisis rebuild cluster_chart`") from None


class View:
    """The charts of one clinic, within a transaction."""

    def __init__(self, cur: psycopg.Cursor[Any], codec: Codec, keys: KeyStore, accessed: Accessed) -> None:
        self._cur = cur
        self._codec = codec
        self._keys = keys
        self._accessed = accessed

    # Rows

    def find(self, condition: Condition, sort: Sort, after: Sequence[Any], limit: int) -> list[tuple[Row, Any]]:
        """Rows with their sort keys, in order, behind ``after`` (a sort key and an id; empty: from the first)."""
        key = _key_of(sort)
        down = sort.down
        if after:
            sign = "<" if down else ">"
            if sort.by == "id":
                condition.add(f"resource_id {sign} {{}}", UUID(after[1]))
            else:
                name = f"v{len(condition.values)}"
                condition.values |= {name: after[0], "last_id": UUID(after[1])}
                condition.add(f"({key}, resource_id) {sign} (%({name})s, %(last_id)s)")
        order = sql.SQL(literal(f"{key} DESC, resource_id DESC" if down else f"{key}, resource_id"))
        query = sql.SQL(
            "WITH found AS {how} (SELECT * FROM read.cluster_chart_seen WHERE {where}) "
            "SELECT {row}, {key} FROM found ORDER BY {order} LIMIT {limit}"
        ).format(
            how=sql.SQL("MATERIALIZED" if condition.narrow else "NOT MATERIALIZED"),
            row=_ROW,
            key=sql.SQL(literal(key)),
            where=condition.sql(),
            order=order,
            limit=sql.Literal(limit),
        )
        self._cur.execute(query, condition.values)
        return [(Row(*values[:8]), values[8]) for values in self._cur]

    def count(self, condition: Condition) -> int:
        """How many resources there are."""
        query = sql.SQL("SELECT count(DISTINCT resource_id) FROM read.cluster_chart_seen WHERE {}")
        row = self._cur.execute(query.format(condition.sql()), condition.values).fetchone()
        return int(row[0]) if row else 0

    def of_subject(self, subject: UUID) -> Rows:
        """All rows of a subject."""
        self._cur.execute(_SQL["of_subject"], {"subject": subject})
        return [(Row(id_, subject, *rest[:6]), tuple(rest[6])) for id_, *rest in self._cur.fetchall()]

    def by_ids(self, ids: Collection[UUID]) -> dict[UUID, Rows]:
        """The rows of these resources, oldest first."""
        if not ids:
            return {}
        self._cur.execute(_SQL["by_ids"], {"ids": array(ids)})
        return by_resource((Row(*values[:8]), tuple(values[8])) for values in self._cur)

    def newest(self, rows: Sequence[Row]) -> list[Row]:
        """Without those that another service keeps a newer version of; of the rest, what there was before."""
        several = self.by_ids([row.id for row in rows if row.resource_type in CHANGING])
        found = []
        for row in rows:
            known = several.get(row.id)
            if known is None:
                found.append(row)
            elif known[-1][0].source == row.source:
                found.append(known[-1][0])
        return found

    # Who is seen

    def sees(self, subject: UUID) -> bool:
        """Whether a patient is in the clinic's roster."""
        return self._cur.execute(_SQL["sees"], {"subject": subject}).fetchone() is not None

    def incomplete(self, subjects: Collection[UUID]) -> bool:
        """Whether events of these subjects wait that the charts lack."""
        row = self._cur.execute(_SQL["incomplete"], {"subjects": array(subjects)}).fetchone()
        return bool(row and row[0])

    def versions_of(self, ids: Collection[UUID]) -> dict[UUID, tuple[int, bool]]:
        """How many versions there are of each, and whether it was retracted."""
        self._cur.execute(_SQL["versions_of"], {"ids": array(ids)})
        return {id_: (versions, retracted) for id_, versions, retracted in self._cur}

    # Bytes

    def recorded(self, subject: UUID) -> dict[Place, datetime]:
        """When each event of a subject was recorded."""
        self._cur.execute(_SQL["recorded"], {"subject": subject, "slice": slice_of(subject)})
        return {Place(subject, source, seq): recorded for source, seq, recorded in self._cur}

    def kept(self, places: Collection[Place], *, indented: bool = True) -> dict[Place, Kept]:
        """What lies there. Absent: the ledger has not come so far. Without ``indented``, resources come without the
        indentation that they were sent with. The one way to a patient's data: it is noted who is given what.
        """
        if not places:
            return {}
        wanted = set(places)
        self._accessed.took(wanted)
        rows = [(place, recorded, self._codec.open(value)) for place, _, recorded, value in self._events(wanted)]
        keys = self._keys.by_ids({sealed.meta.key for _, _, sealed in rows if sealed.meta.key is not None})
        found: dict[Place, Kept] = {}
        for place, recorded, sealed in rows:
            key = keys.get(sealed.meta.key) if sealed.meta.key is not None else None
            raw = None
            if key is not None:
                try:
                    raw = self._codec.resource(sealed, key, indented=indented)
                except Poison:
                    raw = None
            found[place] = Kept(recorded, raw)
        return found

    def _events(self, places: set[Place]) -> list[tuple[Place, int, datetime, bytes]]:
        """What lies at these places: the event's number, when it was recorded, and its value."""
        subjects, sources = {place.subject for place in places}, {place.source for place in places}
        given = {"sources": list(sources), "seqs": array({place.seq for place in places})}
        if len(subjects) == 1:
            (subject,) = subjects
            self._cur.execute(_SQL["events_of_one"], given | {"subject": subject, "slice": slice_of(subject)})
            found = [(Place(subject, source, seq), *rest) for source, seq, *rest in self._cur.fetchall()]
        else:
            slices = array({slice_of(subject) for subject in subjects})
            self._cur.execute(_SQL["events_of_several"], given | {"subjects": array(subjects), "slices": slices})
            found = [(Place(*row[:3]), *row[3:]) for row in self._cur.fetchall()]
        if len(subjects) > 1 or len(sources) > 1:
            found = [one for one in found if one[0] in places]
        return found


def by_resource(rows: Iterable[tuple[Row, tuple[int, ...]]]) -> dict[UUID, Rows]:
    """Rows, the oldest of each resource first, by resource, and with what there was before."""
    found: dict[UUID, Rows] = {}
    for row, seqs in rows:
        known = found.setdefault(row.id, [])
        before = known[-1][0].before + known[-1][0].version if known else 0
        known.append((row._replace(before=before), seqs))
    return found


def _key_of(sort: Sort) -> str:
    match sort.by:
        case "id":
            return "resource_id"
        case "updated":
            return "recorded"
        case _:
            return f"coalesce(begins, ends, '{_EVER if sort.down else _NEVER}'::timestamptz)"


def having(condition: Condition, recorded: Mapping[UUID, datetime]) -> None:
    """They are among these, and their newest versions are no newer than recorded."""
    ids, moments = f"v{len(condition.values)}", f"v{len(condition.values) + 1}"
    condition.values |= {ids: list(recorded), moments: list(recorded.values())}
    condition.add(f"resource_id = ANY(%({ids})s)")
    condition.add(f"recorded <= (%({moments})s::timestamptz[])[array_position(%({ids})s::uuid[], resource_id)]")


def dated(condition: Condition, whens: Sequence[When]) -> None:
    """The date of the resources compares like one of these."""
    condition.add("(begins IS NOT NULL OR ends IS NOT NULL)")
    condition.when(whens, "coalesce(begins, '-infinity')", "coalesce(ends, 'infinity')")


def updated(condition: Condition, whens: Sequence[When]) -> None:
    """When they were recorded compares like one of these."""
    condition.when(whens, "recorded", "recorded + interval '1 microsecond'")


def named(condition: Condition, words: Sequence[Word]) -> None:
    """A name of the resource's owner begins like one of these."""
    texts = []
    for word in words:
        first, last = f"v{len(condition.values)}", f"v{len(condition.values) + 1}"
        condition.values |= {first: word.begins, last: word.begins + "\U0010ffff"}
        part = "" if word.part == "name" else f" AND part = '{word.part}'"
        texts.append(f'(word COLLATE "C" >= %({first})s AND word COLLATE "C" < %({last})s{part})')
    condition.add(f"subject = ANY(ARRAY({_NAMED} {' OR '.join(texts)}))")
