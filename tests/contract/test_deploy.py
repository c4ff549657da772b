"""The deployment files, without a container engine: what they promise about secrets, users, pins and roles."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from importlib import import_module
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import pytest
import typer
from packaging.requirements import Requirement

from epicrisis.cli.app import COMMAND_MODULES, app
from epicrisis.cli.doctor import OTHERS
from epicrisis.found import services, takers
from epicrisis.handing import END_SECONDS
from epicrisis.local import postgres
from epicrisis.local.jars import KAFKA_VERSION
from epicrisis.provision import grants
from epicrisis.provision.kafka import USERS
from epicrisis.serve import GRACE_SECONDS
from epicrisis.settings import Settings
from tests import infra

DEPLOY = infra.CHECKOUT / "deploy"
COMPOSE = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
EXAMPLE = (DEPLOY / "secrets.env.example").read_text(encoding="utf-8")
KEYS = {"EPICRISIS_WRAPPING_KEY", "EPICRISIS_CHECKPOINT_KEY"}
SECRETS = {"POSTGRES_PASSWORD", "KAFKA_ADMIN_PASSWORD", "KAFKA_CONTROLLER_PASSWORD", *KEYS}
ROLES = ("relay", "work", "serve", "mllp", "inbox", "checkpoint")


def blocks(text: str, indent: str) -> dict[str, str]:
    """The blocks of a YAML mapping by name, as text: enough for a file whose shape is ours."""
    parts = re.split(rf"^{indent}([\w-]+):(?:\n| (?=&))", text, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


SERVICES = blocks(COMPOSE.split("\nservices:\n")[1].split("\nvolumes:\n")[0], "  ")
VOLUMES = re.findall(r"^  ([\w-]+):$", COMPOSE.split("\nvolumes:\n")[1], re.MULTILINE)


def script(service: str) -> str:
    """The program in a service's command, as its container sees it."""
    text = re.search(r"command:\n      - \|\n((?:        .*\n|\n)+)", SERVICES[service])
    assert text is not None
    return re.sub(r"^ {8}", "", text[1], flags=re.MULTILINE).replace("$$", "$")


def commands() -> dict[str, Any]:
    for module in COMMAND_MODULES:
        import_module(module)
    found = typer.main.get_command(app)
    return dict(getattr(found, "commands"))  # noqa: B009  (typer's own click is not typed)


def test_the_compose_file_has_every_part() -> None:
    assert set(SERVICES) == {"kafka", "postgres", "provision", "hand-out", *ROLES, "tool"}
    assert "\t" not in COMPOSE
    assert set(re.findall(r"(?<=[ :])\*(\w+)", COMPOSE)) <= set(re.findall(r" &(\w+)", COMPOSE))
    used = re.findall(r"^      - ([a-z]+):/", COMPOSE, re.MULTILINE)
    assert set(used) == set(VOLUMES)


def test_compose_itself_accepts_the_file(tmp_path: Path) -> None:
    program = next((c for c in (["docker-compose"], ["docker", "compose"]) if shutil.which(c[0])), None)
    if program is None or subprocess.run([*program, "version"], capture_output=True, check=False).returncode:
        pytest.skip("not run: no Docker Compose on this machine")
    env = {**os.environ, **dict.fromkeys(SECRETS, "x")}
    done = subprocess.run(
        [*program, "-f", str(DEPLOY / "compose.yaml"), "config", "-q"], env=env, cwd=tmp_path, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()


def test_every_role_is_a_command() -> None:
    known = commands()
    for name in (*ROLES, "provision"):
        assert f"\n    command: [{name}]\n" in SERVICES[name]
        assert name in known
    readme = (DEPLOY / "README.md").read_text(encoding="utf-8")
    by_hand = set(re.findall(r"docker compose run --rm .*?tool (\w+)", readme))
    assert by_hand
    assert by_hand <= known.keys()


def test_a_role_is_told_whatever_its_command_can_be_told() -> None:
    [every] = re.findall(r"^x-servers: &servers\n((?:  .*\n)+)", COMPOSE, re.MULTILINE)
    for name in ROLES:
        assert "servers" in SERVICES[name].split("environment:")[1].split("volumes:")[0]
        told = set(re.findall(r"^ +(EPICRISIS_\w+):", every + SERVICES[name], re.MULTILINE))
        assert {option.envvar for option in commands()[name].params} - {None} <= told, name


def test_a_role_ends_when_it_is_asked_to_and_is_given_the_time_for_it() -> None:
    [role] = re.findall(r"^x-role: &role\n((?:  .*\n)+)", COMPOSE, re.MULTILINE)
    assert "\n  init: true" in role
    [minutes] = re.findall(r"^  stop_grace_period: (\d+)m\b", role, re.MULTILINE)
    assert int(minutes) * 60 >= END_SECONDS + 10 >= GRACE_SECONDS
    assert not [name for name in ROLES if "stop_grace_period" in SERVICES[name]]


def test_the_doctor_knows_every_variable_that_a_role_is_told() -> None:
    told = set(re.findall(r"^ +(EPICRISIS_\w+):", COMPOSE, re.MULTILINE))
    settings = {f"EPICRISIS_{name.upper()}" for name in Settings.model_fields}
    options = {option.envvar for command in commands().values() for option in command.params} - {None}
    assert told <= settings | options
    assert options <= OTHERS


def test_no_secret_has_a_default() -> None:
    asked = re.findall(r"\$\{(\w+)(:[?-][^}]*)?\}", COMPOSE)
    assert {name for name, rest in asked if rest.startswith(":?")} == SECRETS
    assert not [name for name, rest in asked if name in SECRETS and rest.startswith(":-")]
    assert not [name for name, rest in asked if not rest and name not in SECRETS]
    for name, value in re.findall(r"^ +(\w*(?:PASSWORD|password|KEY)\w*): (.*)$", COMPOSE, re.MULTILINE):
        assert value.startswith("${"), name
    assert {name for name, _ in asked} <= set(re.findall(r"^#?(\w+)=", EXAMPLE, re.MULTILINE))
    assert dict(re.findall(r"^(\w+)=(.*)$", EXAMPLE, re.MULTILINE)) == dict.fromkeys(SECRETS, "")
    assert ".env" in (DEPLOY / ".gitignore").read_text(encoding="utf-8").splitlines()


def test_the_documented_command_makes_the_secrets_once(tmp_path: Path) -> None:
    readme = (DEPLOY / "README.md").read_text(encoding="utf-8")
    [command] = [line for line in readme.splitlines() if line.startswith("(umask")]
    subprocess.run(["sh", "-c", command], cwd=tmp_path, check=True)
    made = (tmp_path / ".env").read_text(encoding="ascii")
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600
    values = dict(line.split("=", 1) for line in made.splitlines())
    assert values.keys() == SECRETS
    assert all(re.fullmatch(r"[\w-]{43}", value) for value in values.values())  # safe in a URL, a shell, a JAAS line
    assert len(set(values.values())) == len(SECRETS)
    again = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, check=False)
    assert again.returncode != 0
    assert (tmp_path / ".env").read_text(encoding="ascii") == made


def test_no_role_knows_an_administrator() -> None:
    for name in ("hand-out", *ROLES, "tool"):
        for secret in SECRETS - KEYS:
            assert secret not in SERVICES[name], name
    for name in ("relay", "checkpoint"):  # they move and sign bytes, and need not read them
        assert "EPICRISIS_WRAPPING_KEY" not in SERVICES[name]
    assert {name for name in ROLES if "EPICRISIS_CHECKPOINT_KEY" in SERVICES[name]} == {"checkpoint"}
    [dsn] = re.findall(r"EPICRISIS_DSN: (.*)", COMPOSE.split("\nservices:")[0])
    assert "@" not in dsn


def test_each_role_is_handed_its_own_passwords_and_no_others(tmp_path: Path) -> None:
    logins = {f"role.{name}" for name in (*services(), *grants.LOGINS)}
    every = {f"epicrisis/{name}": f"secret of {name}" for name in logins | {f"kafka.{user}" for user in USERS}}
    (tmp_path / "epicrisis").mkdir()
    (tmp_path / "epicrisis" / "secrets.json").write_text(json.dumps(every))
    for role in ROLES:
        (tmp_path / "epicrisis-roles" / role).mkdir(parents=True)
        assert f"- {role}:/var/lib/epicrisis:ro\n" in SERVICES[role]
        assert f"- {role}:/var/lib/epicrisis-roles/{role}\n" in SERVICES["hand-out"]
    program = script("hand-out").replace("/var/lib/", f"{tmp_path}/")
    for _ in range(2):  # it runs at every `up`
        done = subprocess.run([sys.executable, "-c", program], cwd=infra.CHECKOUT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert "secret of" not in done.stdout
    known = {}
    for role in ROLES:
        file = tmp_path / "epicrisis-roles" / role / "secrets.json"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        known[role] = {name.removeprefix("epicrisis/") for name in json.loads(file.read_text())}
    assert known == {
        "relay": {"role.relay", "kafka.relay"},
        "work": {"role.worker", "kafka.worker"},
        "serve": {"role.intake", "role.door", *(f"role.{name}" for name in services())},
        "mllp": {"role.intake", *(f"role.{name}" for name in takers())},
        "inbox": {"role.intake", "kafka.inbox", *(f"role.{name}" for name in takers())},
        "checkpoint": {"role.checkpoint"},
    }


def test_images_are_pinned() -> None:
    images = re.findall(r"^ +image: \$\{(\w+):-([^}]+)\}$", COMPOSE, re.MULTILINE)
    assert len(images) == len(re.findall(r"^ +image:", COMPOSE, re.MULTILINE))
    named = dict(images)
    assert named == {**named, "KAFKA_IMAGE": f"apache/kafka:{KAFKA_VERSION}", "EPICRISIS_IMAGE": "epicrisis:local"}
    assert re.fullmatch(r"postgres:18\.\d+", named["POSTGRES_IMAGE"])
    [base] = re.findall(r"^ARG PYTHON_IMAGE=(.+)$", DOCKERFILE, re.MULTILINE)
    assert re.fullmatch(r"python:3\.\d+-slim-\w+", base)
    assert re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE) == ["${PYTHON_IMAGE}"] * 2


def test_kafka_starts_with_the_same_settings_as_on_one_machine() -> None:
    [settings] = re.findall(r"- (\S+):/etc/epicrisis/server.properties:ro", SERVICES["kafka"])
    text = (DEPLOY / settings).read_text(encoding="utf-8")
    [filled] = re.findall(r"for name in (.*); do", script("kafka"))
    assert set(filled.split()) == set(re.findall(r"\$(\w+)", text))
    assert "auto.create.topics.enable=false" in text


def test_postgres_logs_no_more_than_on_one_machine() -> None:
    told = dict(re.findall(r"^      - -c(\w+)=(.+)$", SERVICES["postgres"], re.MULTILINE))
    private = {
        name: value
        for name, value in postgres.SETTINGS.items()
        if name.startswith(("log_parameter", "log_min", "log_error"))
    }
    assert private.items() <= told.items()
    page = (infra.CHECKOUT / "docs/how-to/run-on-other-servers.md").read_text(encoding="utf-8")
    assert not [name for name, value in private.items() if f"`{name}={value}`" not in page]


@pytest.mark.skipif(shutil.which("bash") is None, reason="not run: no bash on this machine")
def test_kafkas_start_fills_every_gap_in_its_settings(tmp_path: Path) -> None:
    program = script("kafka")
    assert subprocess.run(["bash", "-n"], input=program, text=True, check=False).returncode == 0
    [settings] = re.findall(r"- (\S+):/etc/epicrisis/server.properties:ro", SERVICES["kafka"])
    start = program.split("run() {")[0].replace("/tmp/", f"{tmp_path}/")
    start = start.replace("/etc/epicrisis/server.properties", str(DEPLOY / settings))
    env = {"PATH": os.environ["PATH"], "admin_password": "a-1_", "controller_password": "c-2_"}
    subprocess.run(["bash", "-c", f"{start}\nconfigure /data"], env=env, check=True)
    file = tmp_path / "server.properties"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    filled = file.read_text()
    assert "$" not in filled
    assert "listeners=CLIENT://0.0.0.0:9092,CONTROLLER://127.0.0.1:9093" in filled
    assert 'password="a-1_"' in filled
    assert 'user_admin="c-2_"' in filled
    assert "log.dirs=/data" in filled


def test_the_image_runs_as_nobody_in_particular_and_holds_no_secret() -> None:
    last = DOCKERFILE.rpartition("\nFROM ")[2]
    [user] = re.findall(r"^USER (.+)$", last, re.MULTILINE)
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", user)
    assert not re.findall(r"^(?:ARG|ENV) .*(?:PASSWORD|SECRET|KEY|TOKEN)", DOCKERFILE, re.MULTILINE)
    assert "//" not in DOCKERFILE  # no host of anybody's
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert next(line for line in ignored if not line.startswith("#")) == "**"


def test_what_the_image_installs_is_pinned_by_hash() -> None:
    sources = " ".join(re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)).split()
    assert "deploy/requirements.txt" in sources
    assert not [source for source in sources if not (infra.CHECKOUT / source).exists()]
    for install in re.findall(r"pip install [^&\n]+", DOCKERFILE):
        assert "--require-hashes" in install or "--no-index" in install, install


def test_the_page_on_containers_gives_the_builder_all_that_the_image_copies() -> None:
    copied = " ".join(re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)).split()
    page = (infra.CHECKOUT / "docs/how-to/containers.md").read_text(encoding="utf-8")
    [given] = re.findall(r"archive HEAD (.+) \|$", page, re.MULTILINE)
    assert not [source for source in copied if source.split("/")[0] not in given.split()]


def test_the_image_builds_its_wheel_with_all_that_hatchling_needs() -> None:
    [listed] = re.findall(r"keep = /\^\((.*?)\)==/", DOCKERFILE)
    needed = {
        wanted.name
        for wanted in map(Requirement, requires("hatchling") or [])
        if wanted.marker is None or wanted.marker.evaluate({"extra": ""})
    }
    assert needed | {"hatchling"} <= set(listed.split("|"))
    pinned = (DEPLOY / "requirements-dev.txt").read_text(encoding="utf-8")
    assert not [name for name in listed.split("|") if f"\n{name}==" not in pinned]
