"""The key stores: one suite on the double and on PostgreSQL."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import psycopg
import pytest

from epicrisis.codec import KeyStore, LocalWrapping, MemoryKeyStore, PostgresKeyStore
from epicrisis.errors import KeyLost
from epicrisis.settings import Settings
from epicrisis.sql import ddl

WRAPPING = LocalWrapping(os.urandom(32))
Make = Callable[[], KeyStore]


@pytest.fixture(scope="module")
def dsn(settings: Settings) -> Iterator[str]:
    """A database of keys of this module's own, as its owner: the rights of roles are tested where they are granted."""
    name = settings.database(f"keys_{secrets.token_hex(3)}")
    with psycopg.connect(settings.admin_dsn(), autocommit=True) as admin:
        admin.execute(f'CREATE DATABASE "{name}"')
    dsn = settings.admin_dsn(name)
    with psycopg.connect(dsn) as connection:
        for statement in ddl("epicrisis.codec"):
            connection.execute(statement)
    yield dsn
    with psycopg.connect(settings.admin_dsn(), autocommit=True) as admin:
        admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.servers)])
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    """Opens the store; once more for another process's view of it."""
    opened: list[KeyStore] = []
    if request.param == "memory":
        store = MemoryKeyStore(WRAPPING)
        yield lambda: store
        return
    dsn = request.getfixturevalue("dsn")

    def open_one() -> KeyStore:
        opened.append(PostgresKeyStore(dsn, WRAPPING))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


def test_a_subject_keeps_its_key(make: Make) -> None:
    first, second, subject = make(), make(), uuid4()
    key = first.for_subjects([subject])[subject]
    again = second.for_subjects([subject])[subject]
    assert (again.id, again.subject) == (key.id, key.subject) == (key.id, subject)
    sealed = key.aead.encrypt(bytes(12), b"words", None)
    assert again.aead.decrypt(bytes(12), sealed, None) == b"words"
    assert second.by_ids([key.id])[key.id].subject == subject


def test_each_subject_has_a_key_of_its_own(make: Make) -> None:
    subjects = [uuid4() for _ in range(50)]
    keys = make().for_subjects(subjects)
    assert list(keys) == subjects or set(keys) == set(subjects)
    assert len({key.id for key in keys.values()}) == 50
    sealed = {subject: key.aead.encrypt(bytes(12), b"", None) for subject, key in keys.items()}
    assert len(set(sealed.values())) == 50


def test_known_and_new_subjects_may_be_asked_for_together_and_twice(make: Make) -> None:
    store, known, new = make(), uuid4(), uuid4()
    before = store.for_subjects([known])[known]
    keys = make().for_subjects([new, known, new])
    assert set(keys) == {new, known}
    assert keys[known].id == before.id


def test_none_and_unknown_ones_are_no_error(make: Make) -> None:
    assert make().for_subjects([]) == {}
    assert make().by_ids([]) == {}
    assert make().by_ids([uuid4()]) == {}


def test_a_destroyed_key_is_absent_and_never_made_again(make: Make) -> None:
    store, subject = make(), uuid4()
    key = store.for_subjects([subject])[subject]
    assert store.destroy(subject) is True
    for one in (store, make()):
        assert one.by_ids([key.id]) == {}
        with pytest.raises(KeyLost, match=str(subject)):
            one.for_subjects([uuid4(), subject])
    assert store.destroy(subject) is False
    assert store.destroy(uuid4()) is False


def test_writers_that_race_get_the_same_keys(make: Make) -> None:
    subjects = [uuid4() for _ in range(200)]
    stores = [make() for _ in range(8)]

    def ask(store: KeyStore) -> dict[UUID, UUID]:
        return {subject: key.id for subject, key in store.for_subjects(subjects).items()}

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, stores))
    assert all(answer == answers[0] for answer in answers)


@pytest.mark.servers
def test_new_keys_take_one_round_trip_and_known_ones_none(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store, trips = PostgresKeyStore(dsn, WRAPPING), []
    session = store._database.session
    monkeypatch.setattr(store._database, "session", lambda: trips.append(1) or session())
    subjects = [uuid4() for _ in range(500)]
    keys = store.for_subjects(subjects)
    assert len(trips) == 1
    store.for_subjects(subjects)
    store.by_ids([key.id for key in keys.values()])
    assert len(trips) == 1
    store.close()


@pytest.mark.servers
def test_the_cache_is_bounded_and_forgets_in_time(dsn: str) -> None:
    now = [0.0]
    store = PostgresKeyStore(dsn, WRAPPING, cache=10, ttl=60, clock=lambda: now[0])
    subject = uuid4()
    id = store.for_subjects([subject])[subject].id
    store.for_subjects([uuid4() for _ in range(30)])
    assert len(store._by_subject._kept) == len(store._by_id._kept) == 10
    assert id in store.by_ids([id])
    other = PostgresKeyStore(dsn, WRAPPING)
    other.destroy(subject)
    assert id in store.by_ids([id])
    now[0] = 61
    assert store.by_ids([id]) == {}
    store.close()
    other.close()


@pytest.mark.servers
def test_another_wrapping_key_opens_nothing_and_says_what_to_do(dsn: str) -> None:
    store, stranger = PostgresKeyStore(dsn, WRAPPING), PostgresKeyStore(dsn, LocalWrapping(os.urandom(32)))
    subject = uuid4()
    store.for_subjects([subject])
    with pytest.raises(KeyLost, match="EPICRISIS_WRAPPING_KEY"):
        stranger.for_subjects([subject])
    store.close()
    stranger.close()


@pytest.mark.servers
def test_keys_are_stored_wrapped_and_bound_to_their_subject(dsn: str) -> None:
    store, subjects = PostgresKeyStore(dsn, WRAPPING), [uuid4(), uuid4()]
    keys = store.for_subjects(subjects)
    with psycopg.connect(dsn) as connection:
        rows = connection.execute(
            "SELECT subject, wrapped, wrapping FROM keys.data_key WHERE subject = ANY(%s)", (subjects,)
        ).fetchall()
        assert {len(wrapped) for _, wrapped, _ in rows} == {12 + 32 + 16}
        assert {name for _, _, name in rows} == {"local"}
        connection.execute(
            "UPDATE keys.data_key SET wrapped = (SELECT wrapped FROM keys.data_key WHERE subject = %s)"
            " WHERE subject = %s",
            subjects,
        )
    fresh = PostgresKeyStore(dsn, WRAPPING)
    with pytest.raises(KeyLost):
        fresh.by_ids([keys[subjects[1]].id])
    assert "DataKey(id=" in repr(keys[subjects[0]])
    store.close()
    fresh.close()
