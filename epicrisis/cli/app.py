"""The typer application, and what an error looks like to whoever called it.

Exit codes: 0 done, 1 an error (one line on stderr says what to do), 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import errno
import importlib
import io
import os
import select
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from epicrisis import __version__, logging
from epicrisis.errors import EpicrisisError

# Every module here registers its commands on `app` while it is imported, and imports nothing heavy at the top:
# `epicrisis --help` must not wait for pydantic, Kafka or PostgreSQL. To add commands, add a module.
COMMAND_MODULES: tuple[str, ...] = (
    "epicrisis.cli.servers",
    "epicrisis.cli.roles",
    "epicrisis.cli.importing",
    "epicrisis.cli.operators",
    "epicrisis.cli.reading",
    "epicrisis.cli.quarantine",
    "epicrisis.cli.replaying",
    "epicrisis.cli.accesses",
    "epicrisis.cli.fsck",
    "epicrisis.cli.rebuild",
    "epicrisis.cli.audit",
    "epicrisis.cli.hl7v2",
    "epicrisis.cli.schema",
    "epicrisis.cli.codes",
    "epicrisis.cli.demo",
    "epicrisis.cli.simulate",
)

SILENT = frozenset(("psycopg.OperationalError", "kafka.errors.RetriableError"))
"""What foreign errors are called that come of a server which does not answer, or not yet."""

FULL = (errno.ENOSPC, errno.EDQUOT)
STDOUT = 1

app = typer.Typer(
    name="epicrisis",
    help="The medical records backbone of a cluster of clinics.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # plain help: rich would double the time to show it
    pretty_exceptions_enable=False,  # a traceback with local variables would show a patient's data
    context_settings={"help_option_names": ["-h", "--help"]},
)


def show_version(wanted: bool) -> None:
    if wanted:
        print(f"epicrisis {__version__}")  # noqa: T201
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[bool, typer.Option("--version", callback=show_version, is_eager=True, help="Show it.")] = False,
) -> None:
    """The medical records backbone of a cluster of clinics."""


def main() -> None:
    """Run the command line; every error of ours is one line on stderr."""
    logging.quiet()
    for module in COMMAND_MODULES:
        importlib.import_module(module)
    sys.stdout = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115  (it was closed: `>&-`)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr: a name that a terminal cannot show ends nothing
    try:
        status = app(standalone_mode=False)
        sys.stdout.flush()
    except KeyboardInterrupt:
        sys.exit(130)
    except SystemExit as end:
        if not isinstance(end.__context__, BrokenPipeError):  # which typer ends with 1, without a word
            raise
        end_of(end.__context__)
    except Exception as error:
        end_of(error)
    sys.exit(status if isinstance(status, int) else 0)


def end_of(error: Exception) -> NoReturn:
    """End as this error wants it."""
    if of_an_interrupt(error):
        sys.exit(130)
    if isinstance(error, EpicrisisError):
        fail(str(error))
    if isinstance(error, BrokenPipeError) and nobody_reads():  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), STDOUT)  # or Python tries again at its end
        sys.exit(0)
    end_of_usage_error(error)
    unexpected(error)


def of_an_interrupt(error: BaseException) -> bool:
    """Whether Ctrl-C is behind it: what is left behind in haste may fail, too."""
    return isinstance(error, KeyboardInterrupt) or (
        error.__context__ is not None and of_an_interrupt(error.__context__)
    )


def nobody_reads() -> bool:
    """Whether whoever has read our output is gone: another connection may break, too."""
    output = select.poll()
    output.register(STDOUT, 0)  # that nobody reads is reported all the same
    return bool(output.poll(0))


def end_of_usage_error(error: Exception) -> None:
    """Let click's own errors say what they have to say, and set their exit code; leave all others alone."""
    show, code = getattr(error, "show", None), getattr(error, "exit_code", None)
    if callable(show) and isinstance(code, int):
        show()
        sys.exit(code)
    if type(error).__name__ == "Abort":
        sys.exit(130)


def unexpected(error: Exception) -> NoReturn:
    """End with where it happened, and not with what it said: a foreign message may hold a patient's data."""
    import traceback

    kind, *bases = (f"{one.__module__}.{one.__name__}" for one in type(error).__mro__)
    if kind == "psycopg.errors.DiskFull":
        fail("PostgreSQL has no space left: make some, then do the same again (what is done stays done)")
    if SILENT.intersection((kind, *bases)) or isinstance(error, ConnectionError):
        fail(f"a server does not answer ({kind}): `epicrisis doctor` says which, and what to do")
    if isinstance(error, OSError) and error.errno is not None and (error.filename or error.errno in FULL):
        fail(f"{error.filename or 'no more can be written'}: {os.strerror(error.errno)}")
    print(*traceback.format_tb(error.__traceback__), sep="", end="", file=sys.stderr)  # noqa: T201
    fail(f"unexpected {kind}: a defect; report it with the lines above, which hold no data")


def fail(message: str) -> NoReturn:
    """End with one line on stderr."""
    print(f"epicrisis: {message}", file=sys.stderr)  # noqa: T201
    sys.exit(1)
