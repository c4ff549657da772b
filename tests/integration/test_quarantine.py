"""Quarantine: what a door refused is kept, sealed, each operator's apart; on the double in memory and on PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from typer.testing import CliRunner

from epicrisis import assembly, logging
from epicrisis.cli.quarantine import quarantine as commands
from epicrisis.codec import KeyStore, MemoryKeyStore
from epicrisis.database import Database
from epicrisis.doors.refusals import problems_of
from epicrisis.errors import KeyLost, NotKept, Refused
from epicrisis.fhir.outcome import Problem
from epicrisis.quarantine import DISCARDED, RESUBMITTED, WAITING, Quarantine, keep
from epicrisis.quarantine.memory import MemoryStore
from epicrisis.quarantine.store import PostgresStore, Store
from epicrisis.settings import Settings
from tests.kernel_support import bundle, observation, own_namespace, patient

pytestmark = pytest.mark.servers
NAME = "Wolkenstein"
RAW = json.dumps({"resourceType": "Patient", "name": NAME}).encode()
WRONG = Problem(severity="error", code="structure", expression="Patient.name", text=f"a text that says {NAME}")


@dataclass
class Ward:
    """A quarantine, and an operator whom no other test knows."""

    store: Store
    keys: KeyStore
    own: str

    @property
    def quarantine(self) -> Quarantine:
        return Quarantine(self.store, self.keys)

    def keep(self, raw: bytes = RAW, *problems: Problem, operator: str = "", **more: Any) -> UUID:
        operator = operator or self.own
        given = {"clinic": f"{operator}/gyn", "door": "fhir", **more}
        return self.quarantine.keep(raw, operator=operator, problems=problems or [WRONG], **given)


@pytest.fixture(scope="module")
def cluster(servers: dict[str, Any]) -> Iterator[Settings]:
    with own_namespace(servers, kafka=False) as settings:
        yield settings


@pytest.fixture(scope="module")
def on_servers(cluster: Settings) -> Iterator[tuple[Store, KeyStore]]:
    database = Database(cluster.dsn_for("intake", "intake"), size=2)
    keys = assembly.key_store(cluster, "intake")
    yield PostgresStore(database), keys
    database.close()
    keys.close()


@pytest.fixture(params=["memory", "postgres"])
def ward(request: pytest.FixtureRequest) -> Ward:
    own = f"op{uuid4().hex[:8]}"
    if request.param == "memory":
        return Ward(MemoryStore(), MemoryKeyStore(), own)
    return Ward(*request.getfixturevalue("on_servers"), own)


def test_what_is_kept_comes_back_byte_for_byte_with_its_name_and_why(ward: Ward) -> None:
    id = ward.keep(RAW, WRONG, name="MSH|1")
    (held,) = ward.quarantine.rows(ward.own)
    assert (held.id, held.operator, held.clinic, held.door) == (id, ward.own, f"{ward.own}/gyn", "fhir")
    assert (held.state, held.times, held.bytes, list(held.problems)) == (
        WAITING,
        1,
        len(RAW),
        [("structure", "Patient.name")],
    )
    original = ward.quarantine.original(held)
    assert (original.raw, original.name, original.problems) == (RAW, "MSH|1", [WRONG])


def test_the_same_again_is_one_row_with_a_count(ward: Ward) -> None:
    assert len({ward.keep() for _ in range(3)}) == 1
    assert [row.times for row in ward.quarantine.rows(ward.own)] == [3]
    ward.keep(clinic=f"{ward.own}/onc")
    ward.keep(door="hl7v2")
    ward.keep(RAW + b" ")
    assert [row.times for row in ward.quarantine.rows(ward.own)] == [3, 1, 1, 1]


def test_the_same_name_again_is_one_row_kept_as_it_came_last(ward: Ward) -> None:
    first = ward.keep(name="17")
    other = Problem(severity="error", code="value", expression="Patient.birthDate", text="")
    assert ward.keep(RAW + b" ", other, name="17") == first
    (held,) = ward.quarantine.rows(ward.own)
    assert (held.times, list(held.problems)) == (2, [("value", "Patient.birthDate")])
    assert ward.quarantine.original(held).raw == RAW + b" "


def test_beyond_the_cap_nothing_is_kept_nothing_is_dropped_and_the_sender_is_told(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keep, "CAP_MESSAGES", 2)
    kept = [ward.keep(RAW + b" " * number) for number in range(2)]
    with pytest.raises(NotKept, match=r"2 refused messages .* resubmit or discard"):
        ward.keep(b"another")
    assert ward.keep() == kept[0], "one that waits already is still counted"
    said = ward.quarantine.refused(
        b"another", operator=ward.own, clinic=f"{ward.own}/gyn", door="fhir", problems=[WRONG]
    )
    assert [(p.severity, p.code) for p in said] == [("error", "structure"), ("warning", "throttled")]
    assert "not kept" in said[1].text
    assert [row.id for row in ward.quarantine.rows(ward.own)] == kept
    ward.keep(b"another operator's", operator=f"{ward.own}2")
    monkeypatch.setattr(keep, "CAP_MESSAGES", 10)
    monkeypatch.setattr(keep, "CAP_BYTES", 2 * len(RAW) + 10)
    with pytest.raises(NotKept):
        ward.keep(b"x" * 100)


def test_an_answer_says_where_the_message_is_kept(ward: Ward) -> None:
    said = ward.quarantine.refused(RAW, operator=ward.own, clinic=f"{ward.own}/gyn", door="fhir", problems=[WRONG])
    (held,) = ward.quarantine.rows(ward.own)
    assert said[0] == WRONG
    assert (said[1].severity, str(held.id) in said[1].text) == ("information", True)


def test_a_resubmitted_message_is_in_the_inbox_and_no_longer_here(ward: Ward) -> None:
    held = ward.quarantine.find(ward.keep(), ward.own)
    message = uuid4()
    ward.quarantine.resubmitted(held, message, "ada")
    assert ward.quarantine.rows(ward.own) == []
    (after,) = ward.quarantine.rows(ward.own, state=RESUBMITTED)
    assert (after.id, after.message, after.by, after.settled is None) == (held.id, message, "ada", False)
    with pytest.raises(Refused, match="was resubmitted"):
        ward.quarantine.original(after)


def test_a_discarded_message_leaves_its_row_its_reason_and_its_original(ward: Ward) -> None:
    held = ward.quarantine.find(ward.keep(), ward.own)
    with pytest.raises(Refused, match="for a reason"):
        ward.quarantine.discard(held, " ", "ada")
    ward.quarantine.discard(held, "a test message", "ada")
    (after,) = ward.quarantine.rows(ward.own, state=None)
    assert (after.state, after.reason, after.by) == (DISCARDED, "a test message", "ada")
    assert ward.quarantine.original(after).raw == RAW


def test_what_is_settled_is_settled_and_the_same_waits_anew(ward: Ward) -> None:
    held = ward.quarantine.find(ward.keep(), ward.own)
    ward.quarantine.discard(held, "a test message", "ada")
    for settle in (
        lambda: ward.quarantine.discard(held, "again", "ada"),
        lambda: ward.quarantine.resubmitted(held, uuid4(), "ada"),
    ):
        with pytest.raises(Refused, match="does not wait any more"):
            settle()
    again = ward.keep()
    assert again != held.id
    assert [(row.id, row.state) for row in ward.quarantine.rows(ward.own, state=None)] == [
        (held.id, DISCARDED),
        (again, WAITING),
    ]


def test_one_operator_neither_finds_nor_settles_anothers(ward: Ward) -> None:
    held = ward.quarantine.find(ward.keep(), ward.own)
    foreign = f"{ward.own}2"
    assert ward.quarantine.rows(foreign, state=None) == []
    with pytest.raises(Refused, match="there is no message"):
        ward.quarantine.find(held.id, foreign)
    assert ward.store.sealed(foreign, held.id) is None
    stolen = type(held)(**{name: getattr(held, name) for name in held.__slots__} | {"operator": foreign})
    with pytest.raises(Refused, match="does not wait"):
        ward.quarantine.discard(stolen, "mine now", "eve")


def test_in_clear_there_are_only_codes_and_places(ward: Ward) -> None:
    odd = Problem(severity="error", code=NAME, expression=f"Patient where name is {NAME}", text=NAME)
    held = ward.quarantine.find(ward.keep(RAW, WRONG, odd, name=NAME), ward.own)
    assert list(held.problems) == [("structure", "Patient.name"), ("invalid", "")]
    sealed = ward.store.sealed(ward.own, held.id)
    assert sealed is not None
    assert NAME.encode() not in sealed[1]


# What the server itself sees to


def test_nothing_of_the_message_is_in_clear_in_the_row(cluster: Settings, on_servers: tuple[Store, KeyStore]) -> None:
    id = Ward(*on_servers, "charite").keep(name=NAME)
    with psycopg.connect(cluster.dsn_for("intake", "auditor")) as connection:
        (text,) = connection.execute("SELECT m::text FROM quarantine.message AS m WHERE id = %s", (id,)).fetchone() or (
            "",
        )
    assert "Patient.name" in text
    for form in (NAME, NAME.encode().hex()):
        assert form not in text


def test_a_session_sees_its_own_operators_rows_and_without_one_none(
    cluster: Settings, on_servers: tuple[Store, KeyStore]
) -> None:
    own, foreign = f"op{uuid4().hex[:8]}", f"op{uuid4().hex[:8]}"
    id = Ward(*on_servers, own).keep()
    for role in ("reader", "intake"):
        database = Database(cluster.dsn_for("intake", role), size=1)
        for operator, seen in ((own, 1), (foreign, 0), (None, 0), ("%", 0), ("", 0)):
            with database.transaction(operator=operator) as cur:
                assert cur.execute("SELECT count(*) FROM quarantine.message WHERE id = %s", (id,)).fetchone() == (seen,)
        database.close()
    intake = Database(cluster.dsn_for("intake", "intake"), size=1)
    with intake.transaction(operator=foreign) as cur:
        cur.execute("UPDATE quarantine.message SET times = 0 WHERE id = %s", (id,))
        assert cur.rowcount == 0
    forged = "UPDATE quarantine.message SET reason = 'x' WHERE id = %s"
    insert = (
        "INSERT INTO quarantine.message"
        " (id, same, operator, clinic, door, first, last, problems, bytes, key, sealed) VALUES"
        " (gen_random_uuid(), gen_random_uuid(), %s, 'x', 'x', now(), now(), '[]', 0, gen_random_uuid(), '')"
    )
    with (
        pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"),
        intake.transaction(operator=foreign) as cur,
    ):
        cur.execute(insert, (own,))
    with pytest.raises(psycopg.errors.InsufficientPrivilege), intake.transaction(operator=own) as cur:
        cur.execute("DELETE FROM quarantine.message")
    intake.close()
    reader = Database(cluster.dsn_for("intake", "reader"), size=1)
    for forbidden in (forged, "SELECT sealed FROM quarantine.message WHERE id = %s"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege), reader.transaction(operator=own) as cur:
            cur.execute(forbidden, (id,))
    reader.close()


def test_the_clusters_own_staff_sees_every_operators(cluster: Settings, on_servers: tuple[Store, KeyStore]) -> None:
    mine = [f"op{uuid4().hex[:8]}" for _ in range(2)]
    for own in mine:
        Ward(*on_servers, own).keep()
    staff = assembly.quarantine(cluster, "auditor")
    rows = [row for row in staff.rows() if row.operator in mine]
    assert [row.operator for row in rows] == mine
    assert staff.original(rows[0]).raw == RAW
    assert [row.operator for row in assembly.quarantine(cluster, "reader").rows(mine[1])] == mine[1:]


def test_a_message_whose_key_is_destroyed_is_erased_and_not_kept_again() -> None:
    ward = Ward(MemoryStore(), MemoryKeyStore(), "charite")
    held = ward.quarantine.find(ward.keep())
    assert ward.keys.destroy(held.id)
    with pytest.raises(KeyLost):
        ward.quarantine.original(held)
    with pytest.raises(NotKept, match="erased"):
        ward.keep()


# The commands


@pytest.fixture
def command(cluster: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Runs `epicrisis quarantine …` in this process; its exit code and what it wrote."""
    monkeypatch.setattr(Settings, "read", lambda: cluster)
    monkeypatch.setattr(logging, "configure", lambda role: None)

    def run(*words: str) -> tuple[int, str]:
        result = CliRunner().invoke(commands, list(words))
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.stdout

    return run


def test_after_what_was_missing_came_a_message_goes_in_and_remembers_where_it_was(
    cluster: Settings, on_servers: tuple[Store, KeyStore], command: Callable[..., Any]
) -> None:
    ward = Ward(*on_servers, f"op{uuid4().hex[:8]}")
    intake = assembly.intake(cluster)
    early = bundle(observation("o1", to="Patient/late"))
    with pytest.raises(Refused) as refused:
        intake.receive(early, operator=ward.own, clinic=f"{ward.own}/gyn", door="kafka", name="1/0/17")
    ids = [
        ward.keep(early, *problems_of(early, refused.value), door="kafka", name="1/0/17"),
        ward.keep(),
    ]
    code, out = command("resubmit", "--operator", ward.own, "--all", "--by", "ada", "--format", "json")
    assert (code, [row["outcome"] for row in json.loads(out)]) == (1, ["refused", "refused"])
    intake.receive(bundle(patient("late")), operator=ward.own, clinic=f"{ward.own}/gyn", door="kafka")
    code, out = command("resubmit", str(ids[0]), "--by", "ada", "--format", "json")
    (row,) = json.loads(out)
    assert (code, row["outcome"]) == (0, "went in")

    (held,) = assembly.quarantine(cluster, "auditor").rows(ward.own, state=RESUBMITTED)
    assert (held.id, str(held.message), held.by) == (ids[0], row["message"], "ada")
    with psycopg.connect(cluster.dsn_for("intake", "intake")) as connection:
        (door,) = connection.execute("SELECT door FROM inbox.message WHERE id = %s", (held.message,)).fetchone() or (
            "",
        )
    assert door == "quarantine:kafka"
    again = intake.receive(early, operator=ward.own, clinic=f"{ward.own}/gyn", door="kafka", name="1/0/17")
    assert (again.repeated, again.message, again.total) == (True, held.message, 1), "sent anew, it is the same message"


def test_show_lists_all_that_is_wrong_today_and_writes_the_message_where_asked(
    on_servers: tuple[Store, KeyStore], command: Callable[..., Any]
) -> None:
    ward = Ward(*on_servers, f"op{uuid4().hex[:8]}")
    raw = json.dumps({"resourceType": "Patient", "gender": NAME, "birthDate": "soon"}).encode()
    id = str(ward.keep(raw))
    code, out = command("show", id, "--format", "json")
    (row,) = json.loads(out)
    assert (code, [p["expression"] for p in row["today"]]) == (0, ["Patient.gender", "Patient.birthDate"])
    assert NAME not in json.dumps(row["today"])
    assert [p["text"] for p in row["then"]] == [WRONG.text]
    _, table = command("show", id)
    assert "Why it was refused" in table
    assert "Patient.birthDate" in table
    assert command("show", id, "--raw") == (0, raw.decode())
    with pytest.raises(Refused, match="there is no message"):
        command("show", id, "--operator", "another")


def test_list_and_discard(on_servers: tuple[Store, KeyStore], command: Callable[..., Any]) -> None:
    ward = Ward(*on_servers, f"op{uuid4().hex[:8]}")
    id = str(ward.keep())
    code, out = command("list", "--operator", ward.own, "--format", "json")
    (row,) = json.loads(out)
    assert (code, row["id"], row["problems"]) == (0, id, [{"code": "structure", "expression": "Patient.name"}])
    assert NAME not in out
    assert id in command("list", "--limit", "100000")[1]
    assert command("discard", id, "--operator", ward.own, "--reason", "a test", "--by", "ada")[0] == 0
    assert json.loads(command("list", "--operator", ward.own, "--format", "json")[1]) == []
    (row,) = json.loads(command("list", "--operator", ward.own, "--state", "discarded", "--format", "json")[1])
    assert (row["reason"], row["by"]) == ("a test", "ada")
    assert command("resubmit")[0] == 2
    assert command("show", "17")[0] == 2
