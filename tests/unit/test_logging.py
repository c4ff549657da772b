from __future__ import annotations

import errno
import io
import json
import logging as stdlib
import sys
from collections.abc import Iterator

import pytest

from epicrisis import logging
from epicrisis.errors import Refused


@pytest.fixture(autouse=True)
def fresh(capsys: pytest.CaptureFixture[str]) -> Iterator[None]:
    logging.configure("worker", strict=True)
    yield
    sys.stderr.flush()
    with capsys.disabled():
        logging.configure("test", strict=True)


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_an_event_is_one_json_line_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    logging.get("epicrisis.relay").info("sent", count=3, slice=7)
    [line] = lines(capsys)
    assert line["event"] == "sent"
    assert (line["role"], line["logger"], line["count"], line["slice"]) == ("worker", "epicrisis.relay", 3, 7)


@pytest.mark.parametrize("problem", [OSError(errno.ENOSPC, ""), BrokenPipeError(), ValueError("closed")])
def test_no_work_ends_because_its_log_cannot_be_written(problem: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.StringIO):
        def write(self, _: str) -> int:
            raise problem

    monkeypatch.setattr(sys, "stderr", Full())
    logging.get("epicrisis.relay").warning("relay waits")


def test_a_field_that_is_not_allowed_raises_in_tests() -> None:
    with pytest.raises(logging.FieldNotAllowed, match="surname"):
        logging.get("x").info("registered", surname="Kim")


def test_a_field_that_is_not_allowed_is_dropped_in_production(capsys: pytest.CaptureFixture[str]) -> None:
    logging.configure("worker")
    logging.get("x").info("registered", surname="Kim", seq=1)
    assert "Kim" not in (text := capsys.readouterr().err)
    assert '"seq": 1' in text


def test_a_foreign_exception_shows_its_class_alone(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        raise ValueError("Kim, born 1970")
    except ValueError as error:
        logging.get("x").exception("failed")
        logging.get("x").error("failed", error=error)
    found = lines(capsys)
    assert [line["error"] for line in found] == ["ValueError", "ValueError"]
    assert "Kim" not in json.dumps(found)


def test_our_own_errors_show_their_message(capsys: pytest.CaptureFixture[str]) -> None:
    logging.get("x").warning("refused", error=Refused("only the clinic it was sent to can accept a referral"))
    [line] = lines(capsys)
    assert line["message"] == "only the clinic it was sent to can accept a referral"


def test_libraries_are_heard_from_warning_on_and_their_arguments_are_not(capsys: pytest.CaptureFixture[str]) -> None:
    stdlib.getLogger("kafka.client").info("chatter")
    stdlib.getLogger("kafka.client").warning("broker %s went away", 1)
    stdlib.getLogger("other").warning("row %s is bad", "Kim")
    assert [line["event"] for line in lines(capsys)] == ["broker 1 went away", "row %s is bad"]
