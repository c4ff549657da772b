"""Apache Kafka's jars: fetched once by jgo from Maven Central, each checked against its committed SHA-256."""

from __future__ import annotations

import fcntl
import hashlib
import os
from importlib.resources import files
from pathlib import Path

from epicrisis.errors import SettingsError, Unreachable

KAFKA_VERSION = "4.3.1"
# The "!" keeps one project's version wishes from changing the other's jars: without it, log4j's own POM
# brings kafka-clients down to 3.9.1.
COORDINATES = (
    f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}!",
    "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4!",  # without it the broker runs mute
)


def committed() -> dict[str, str]:
    """File name → SHA-256 of every jar that may be run."""
    text = files("epicrisis.local").joinpath("kafka-jars.sha256").read_text(encoding="ascii")
    return {name: digest for digest, name in (line.split() for line in text.splitlines() if line.strip())}


def fetch() -> list[Path]:
    """Every jar of the class path, fetched if need be and checked."""
    try:
        found = build("+".join(COORDINATES))
    except ImportError:
        raise SettingsError(
            "jgo is not installed: `pip install 'epicrisis[local]'`, or name a broker in EPICRISIS_KAFKA_BOOTSTRAP"
        ) from None
    except Exception as error:
        raise Unreachable(
            f"Apache Kafka's jars could not be fetched from Maven Central ({type(error).__name__}): check the network "
            "and try again; a machine without one can get a copy of another's ~/.m2 and ~/.cache/jgo"
        ) from None
    return check(found)


def build(coordinates: str) -> list[Path]:
    """The jars of a class path, fetched if need be: by one process at a time, because jgo's caches bear no two.

    ImportError where there is no jgo; else whatever its HTTP client and parser raise.
    """
    import jgo
    from jgo.config import GlobalSettings

    folder = GlobalSettings.load().cache_dir
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the kernel lets go of it when the process dies
        return [Path(jar) for jar in jgo.build(coordinates).all_jars]
    finally:
        os.close(lock)


def cached() -> list[Path] | None:
    """The jars, if an earlier `fetch` has left all of them on this machine. Asks nobody."""
    try:
        from jgo.config import GlobalSettings
    except ImportError:
        return None
    group, artifact, *_ = COORDINATES[0].split(":")
    for folder in (GlobalSettings.load().cache_dir / "envs").joinpath(*group.split("."), artifact).glob("*"):
        found = sorted(folder.glob("*/*.jar"))
        if {jar.name for jar in found} == committed().keys():
            return found
    return None


def check(found: list[Path]) -> list[Path]:
    """The same jars, if they are exactly the committed ones."""
    expected = committed()
    names = {jar.name for jar in found}
    if missing := sorted(expected.keys() - names):
        raise SettingsError(f"Apache Kafka's class path lacks {', '.join(missing)}: remove ~/.cache/jgo and try again")
    for jar in found:
        if expected.get(jar.name) != digest(jar):
            raise SettingsError(
                f"{jar} is not the jar that this release was tested with (SHA-256 differs): remove it and its copy "
                "under ~/.m2, then try again; if it differs again, do not run it and tell the maintainers"
            )
    return found


def digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
