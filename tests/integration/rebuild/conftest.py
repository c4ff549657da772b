"""An installation of these tests alone, and a ledger of each test's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from epicrisis.codec import MemoryKeyStore
from epicrisis.settings import Settings
from tests.integration.rebuild.site import Site
from tests.kernel_support import MemoryLog, own_namespace


@pytest.fixture(scope="session")
def cluster(servers: dict[str, Any]) -> Iterator[Settings]:
    with own_namespace(servers, kafka=False) as settings:
        yield settings


@pytest.fixture(autouse=True)
def empty(cluster: Settings) -> None:
    """A ledger of the test's own."""
    with psycopg.connect(cluster.admin_dsn(cluster.database("cluster"))) as connection:
        connection.execute(
            "TRUNCATE ledger.event, ledger.subject, projection.offset, projection.position, projection.parked"
        )


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog(MemoryKeyStore())


@pytest.fixture
def site(cluster: Settings, log: MemoryLog) -> Iterator[Site]:
    made = Site(cluster, log)
    yield made
    made.close()
