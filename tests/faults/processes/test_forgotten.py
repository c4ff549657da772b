"""A server that is gone without a word is missed, and not waited for until the system gives up after hours."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import psycopg
import pytest

from epicrisis.database import Database
from epicrisis.settings import Settings, changed
from tests.faults.processes.proxy import Proxy

pytestmark = pytest.mark.servers


@pytest.fixture
def proxy(settings: Settings) -> Iterator[Proxy]:
    found = Proxy(int(psycopg.conninfo.conninfo_to_dict(settings.admin_dsn())["port"]))
    yield found
    found.close()


def test_every_connection_asks_whether_the_server_is_still_there(settings: Settings) -> None:
    database = Database(settings.admin_dsn())
    with database.session() as cur, socket.socket(fileno=cur.connection.fileno()) as open_:
        found = [open_.getsockopt(socket.IPPROTO_TCP, o) for o in (socket.TCP_KEEPIDLE, socket.TCP_USER_TIMEOUT)]
        assert open_.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        open_.detach()
    database.close()
    assert found == [10, 30_000]


def test_what_the_settings_say_counts(settings: Settings, proxy: Proxy) -> None:
    database = Database(changed(settings.admin_dsn(), port=str(proxy.port), keepalives_idle="2"))
    began = time.monotonic()
    forgetting = threading.Timer(0.5, lambda: said.append(_forget(proxy)))
    said: list[str] = []
    forgetting.start()
    with pytest.raises(psycopg.OperationalError), database.session() as cur:
        cur.execute("SELECT pg_sleep(60)")
    forgetting.join()
    database.close()
    if said != [""]:
        pytest.skip(f"not run: {said[0]}")
    assert time.monotonic() - began > 1.5, "it heard something: this proves nothing"


def _forget(proxy: Proxy) -> str:
    """Empty, or why it could not."""
    try:
        proxy.forget()
    except (PermissionError, OSError) as error:
        proxy.cut()
        return f"connections cannot be dropped without a word here ({type(error).__name__}; root may on Linux)"
    return ""
