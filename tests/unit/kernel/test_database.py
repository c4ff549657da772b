"""How a pool finds a server again."""

from __future__ import annotations

from psycopg_pool.base import AttemptWithBackoff

from epicrisis.database import Database


def test_however_long_a_server_was_away_it_is_asked_again_within_seconds() -> None:
    attempt, now, pauses = AttemptWithBackoff(timeout=Database("dbname=away")._pool.reconnect_timeout), 0.0, [0.0]
    while not attempt.time_to_give_up(now):  # then whoever asks begins anew
        attempt.update_delay(now)
        pauses.append(attempt.delay)
        now += attempt.delay
    assert max(pauses) < 5
