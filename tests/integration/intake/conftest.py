"""A house on the doubles in memory, and one on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from epicrisis import assembly
from epicrisis.database import Database
from epicrisis.found import services
from epicrisis.intake.inbox import PostgresInbox
from epicrisis.settings import Settings
from tests.integration.intake.house import House, in_memory
from tests.kernel_support import own_namespace


@pytest.fixture(scope="session")
def cluster(servers: dict[str, Any]) -> Iterator[Settings]:
    with own_namespace(servers, kafka=False) as settings:
        yield settings


@pytest.fixture(scope="session")
def shared_parts(cluster: Settings) -> Iterator[tuple[Any, ...]]:
    journals = assembly.journals(cluster, services())
    database = Database(cluster.dsn_for("intake", "intake"), size=8)
    keys = assembly.key_store(cluster, "intake")
    yield journals, PostgresInbox(database), keys, cluster
    for journal in journals.values():
        journal._database.close()
    database.close()
    keys.close()


@pytest.fixture(params=["memory", "postgres"])
def house(request: pytest.FixtureRequest) -> House:
    if request.param == "memory":
        return in_memory()
    return House(*request.getfixturevalue("shared_parts"))
