"""`epicrisis-verify`: yes, or the first thing that is wrong."""

from __future__ import annotations

import argparse
import io
import sys
import zipapp
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

from . import bundle
from .check import Verdict, check, check_agreement, oldest_word
from .merkle import Wrong
from .note import Policy

YES, NO, UNTRUSTED = 0, 1, 3
_FOLDER = Path(__file__).parent


def main(arguments: list[str] | None = None) -> int:
    """Exit codes: 0 yes; 1 no; 2 wrong usage; 3 right in itself, by keys that nobody has vouched for."""
    parser = argparse.ArgumentParser(prog="epicrisis-verify", description=__doc__)
    parser.add_argument("file", nargs="*", type=Path, help="an exported history; with a second one, whether they agree")
    parser.add_argument("--policy", type=Path, help="whose signatures count (C2SP tlog-policy), from whom you trust")
    parser.add_argument("--not-before", type=_moment, metavar="TIME", help="an older checkpoint is refused")
    parser.add_argument("--copy", type=Path, metavar="FILE", help="write this program as one file, to run elsewhere")
    options = parser.parse_args(arguments)
    if options.copy:
        copy_to(options.copy)
        return YES
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name must not end it where the terminal cannot show it
    if not 1 <= len(options.file) <= 2:
        parser.error("name one file, or two")
    try:
        trusted = Policy.parse(bundle.text(options.policy.read_bytes())) if options.policy else None
        verdicts = []
        for file in options.file:
            with file.open("rb") as opened:
                raw = opened.read(bundle.MAX_BYTES + 1)
            verdicts.append(check(raw, trusted))
            if options.not_before and oldest_word(verdicts[-1]) < options.not_before:
                raise Wrong("the checkpoint is older than asked for")
        if len(verdicts) == 2:
            check_agreement(*verdicts)
    except OSError as problem:
        print(f"NO: {problem.filename}: {problem.strerror}")  # noqa: T201
        return NO
    except Wrong as problem:
        print(f"NO: {problem}")  # noqa: T201
        return NO
    for verdict in verdicts:
        print("\n".join(_said(verdict)))  # noqa: T201
    return YES if trusted else UNTRUSTED


def _said(verdict: Verdict) -> list[str]:
    count = len(verdict.events)
    lines = [
        (
            f"{'YES' if verdict.trusted else 'RIGHT IN ITSELF, but by keys that came with the file'}: "
            f"{f'all {count} events' if count else 'no event'} of patient {verdict.subject}"
        ),
        f"  as {verdict.origin} had them at its checkpoint {verdict.head} of {verdict.time}",
    ]
    for key, time in verdict.signed.items():
        when = "" if time is None else f", at {datetime.fromtimestamp(time, UTC).isoformat()}"
        lines.append(f"  signed by {key.name} ({sha256(str(key).encode()).hexdigest()[:16]}…){when}")
    if not verdict.trusted:
        lines.append("  Get the policy with the log's and the witnesses' keys from them, and give it with --policy.")
    return lines


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def copy_to(file: Path) -> None:
    """This program as one file (a zipapp): it needs Python and ``cryptography``."""
    with TemporaryDirectory() as folder:
        package = Path(folder) / "epicrisis_verify"
        package.mkdir()
        for source in sorted(_FOLDER.glob("*.py")):
            (package / source.name).write_bytes(source.read_bytes())
        start = "import sys\nfrom epicrisis_verify.__main__ import main\nsys.exit(main())\n"
        (Path(folder) / "__main__.py").write_text(start, encoding="utf-8")
        zipapp.create_archive(folder, file, interpreter="/usr/bin/env python3")


if __name__ == "__main__":
    sys.exit(main())
