"""Logs: one JSON line per event on stderr (coloured text on a terminal), with an allow-list of fields.

A log ends up in consoles, tickets and other people's systems. So a field that is not on the list is dropped (and in
tests raises), an exception is shown by its class, and only our own errors, whose messages never carry a value, are
shown with their message. The event itself is a fixed phrase: what varies goes into fields.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import MutableMapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from epicrisis.errors import EpicrisisError

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

# Names, places, numbers and codes; nothing a patient could be recognised or judged by. `subject` is our own UUID.
FIELDS = frozenset(
    (
        "event level timestamp logger role pid "
        "service projection version worker slice slices topic partition partitions offset next_offset group "
        "subject seq pos stream event_id event_type schema message_id correlation "
        "operator clinic door client request_id resource_type "
        "count batch bytes seconds milliseconds attempt epoch lag queue limit "
        "reason error message status method route port database table path where "
        "checkpoint trusted"
    ).split()
)

# Loggers of libraries whose formatted messages name brokers, topics and offsets, never a record's value.
PLAIN_SPEAKERS = ("kafka", "uvicorn.error")

Event = MutableMapping[str, Any]


class FieldNotAllowed(AssertionError):
    """A log field is not on the allow-list: use a listed name, or add this one after thinking of the patient."""


def configure(role: str, *, strict: bool = False, level: int = logging.INFO) -> None:
    """Set up logging for a process. `strict` raises on a field that is not allowed, for tests."""
    import structlog

    def about_this_process(_: Any, __: str, event: Event) -> Event:
        name = event.pop("log", None)  # structlog's get_logger keeps the word `logger` for itself
        return {"role": role, "pid": os.getpid(), "logger": name, **event}

    def allow_listed(_: Any, __: str, event: Event) -> Event:
        extra = event.keys() - FIELDS
        if extra and strict:
            raise FieldNotAllowed(f"log fields {sorted(extra)} are not in epicrisis.logging.FIELDS")
        return {name: value for name, value in event.items() if name in FIELDS}

    terminal = sys.stderr.isatty()
    renderer: Any = structlog.dev.ConsoleRenderer() if terminal else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            about_this_process,
            error_by_name,
            allow_listed,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: Stderr(),
        cache_logger_on_first_use=not strict,
    )
    _hear_libraries()
    logging.captureWarnings(not strict)


def quiet() -> None:
    """Hear of libraries only what is critical: for commands, which say themselves what went wrong, in one line.

    A role calls `configure`, and hears more.
    """
    _hear_libraries(logging.CRITICAL)
    logging.captureWarnings(True)


def _hear_libraries(level: int = logging.WARNING) -> None:
    logging.basicConfig(handlers=[Bridge()], level=level, force=True)
    # It warns of SCRAM without TLS at every login; SCRAM never sends the password, and TLS is a setting.
    logging.getLogger("kafka.net.sasl").setLevel(logging.ERROR)
    logging.getLogger("kafka.net.selector").setLevel(logging.ERROR)  # it warns of every 0.1 s on a busy machine
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)  # it warns of every attempt; who waits for it says so


def get(name: str) -> FilteringBoundLogger:
    """The logger called `name`. A process that has not called `configure` gets the safe set-up all the same."""
    if not any(isinstance(handler, Bridge) for handler in logging.getLogger().handlers):
        _hear_libraries()
        logging.captureWarnings(True)
    return cast("FilteringBoundLogger", Logger(name))


class Logger:
    """structlog's, imported for the first thing that is said: it takes a quarter of a second, and most commands say
    nothing.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, method: str) -> Any:
        import structlog

        if not structlog.is_configured():
            configure("")
        return getattr(structlog.get_logger(log=self._name), method)


def error_by_name(_: Any, __: str, event: Event) -> Event:
    """Replace an exception by its class name, and its message where the message is ours."""
    found = event.pop("exc_info", None) or event.get("error")
    if found is True:
        found = sys.exc_info()[1]
    elif isinstance(found, tuple):
        found = found[1]
    if isinstance(found, BaseException):
        event["error"] = type(found).__name__
        if isinstance(found, EpicrisisError):
            event["message"] = str(found)
    event.pop("stack_info", None)
    return event


class Stderr:
    """Writes to whatever stderr is at that moment; a line is one write, so that processes do not mix theirs.

    A line that cannot be written is lost: no work ends because its log's disk is full, or who reads it is gone.
    """

    def msg(self, line: str) -> None:
        with suppress(OSError, ValueError):  # ValueError: it is closed
            sys.stderr.write(line + "\n")
            sys.stderr.flush()

    debug = info = warning = error = critical = exception = log = msg


class Bridge(logging.Handler):
    """What libraries say through the standard library's logging, in the same form and under the same rules."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith(PLAIN_SPEAKERS):
            phrase = record.getMessage()
        else:
            phrase = str(record.msg) if record.args else f"{record.module}.{record.funcName}"  # arguments are values
        get(record.name).log(record.levelno, phrase, exc_info=record.exc_info)
