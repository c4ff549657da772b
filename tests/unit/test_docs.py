"""The documentation agrees with the code, and its links lead somewhere."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from epicrisis.doors.kafka_inbox import batches, judge
from epicrisis.fhir.gate import Gate
from epicrisis.found import services
from epicrisis.projecting.parking import MAX_PARKED
from epicrisis.provision import grants, kafka
from epicrisis.quarantine import CAP_BYTES, CAP_MESSAGES
from epicrisis.settings import PREFIX, Settings

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]
DECISIONS = sorted((DOCS / "decisions").glob("[0-9]*.md"))
PARTS = ["Context", "Decision", "Consequences", "Alternatives", "Enforced by"]
OUTSIDE = ("http://", "https://", "mailto:")


def text(path: str) -> str:
    return (DOCS / path).read_text(encoding="utf-8")


def prose(page: Path) -> str:
    """A page without its code."""
    return re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)


def anchors(page: Path) -> set[str]:
    heads = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    """The script that writes the generated pages."""
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if target.startswith(OUTSIDE):
            continue
        file, _, anchor = target.partition("#")
        found = (page.parent / file).resolve() if file else page
        assert found.exists(), target
        assert not anchor or anchor in anchors(found), target


def test_every_page_can_be_found_from_the_index() -> None:
    linked = {
        (page.parent / target.partition("#")[0]).resolve()
        for page in PAGES
        for target in re.findall(r"\]\(([^)\s]+)\)", prose(page))
        if not target.startswith(OUTSIDE)
    }
    assert {page for page in PAGES if page.is_relative_to(DOCS)} - linked == set()


def test_every_path_that_a_page_names_exists() -> None:
    for page in PAGES:
        for path in re.findall(r"`((?:epicrisis|schemas|tests|deploy|docs|bench)/[\w./-]+\.\w+)`", page.read_text()):
            assert (ROOT / path).exists(), f"{page.name}: {path}"


@pytest.mark.parametrize("name", ["commands.md", "events.md", "read-models.md"])
def test_generated_pages_are_up_to_date(name: str, generate: ModuleType) -> None:
    assert text(f"reference/{name}") == generate.PAGES[name](), "run: python docs/generate.py"


def test_every_setting_is_described_and_no_other() -> None:
    page = text("reference/settings.md")
    described = dict(re.findall(rf"^\| `{PREFIX}([A-Z_<>]+)` \|(.*?)\|", page, re.MULTILINE))
    known = {name.upper() for name in Settings.model_fields}
    beside = re.compile(rf"\b{PREFIX}((?:TEST|SERVE|MLLP|METRICS|SHARED)_[A-Z_]*[A-Z])\b")
    used = {
        name
        for folder in ("epicrisis", "tests", "bench")
        for file in (ROOT / folder).rglob("*.py")
        for name in beside.findall(file.read_text(encoding="utf-8"))
    } | {"TEST_KAFKA_IMAGE", "TEST_POSTGRES_IMAGE"}
    assert set(described) == known | used | {"DSN_<DATABASE>"}
    for name, field in Settings.model_fields.items():
        default = "" if field.default is None or field.default_factory else f"`{field.default}`"
        assert described[name.upper()].strip() == default, name


def test_roles_and_rights_are_described() -> None:
    page = text("reference/topics-and-rights.md")
    for role in (*grants.LOGINS, *services(), "owner"):
        assert f"`{role}`" in page, role
    rights: dict[tuple[str, str, str], list[str]] = {}
    for acl in kafka.acls(Settings(namespace="n"), ["<operator>"]):
        of = acl.resource_pattern
        named = of.resource_name.removeprefix("n.") or "the namespace and a dot"
        place = acl.principal.removeprefix("User:n-"), of.resource_type.name, named
        rights.setdefault(place, []).append(acl.operation.name)
    row = r"^\| `([\w<>-]+)` \| (topic|group)s?(?: that start with)? `?(.*?)`? \| ([A-Z, ]+) \|$"
    rows = re.findall(row, page, re.MULTILINE)
    assert {(user, kind.upper(), named): may.split(", ") for user, kind, named, may in rows} == rights


def test_decisions_are_numbered_without_a_hole() -> None:
    assert [int(page.name[:4]) for page in DECISIONS] == list(range(1, len(DECISIONS) + 1))


@pytest.mark.parametrize("page", DECISIONS, ids=lambda page: page.stem)
def test_a_decision_has_its_five_parts_and_the_test_that_enforces_it(page: Path) -> None:
    content = page.read_text(encoding="utf-8")
    assert re.match(rf"# {page.name[:4]}\. \S", content)
    parts = re.split(r"^## (.*)\n", content, flags=re.MULTILINE)[1:]
    assert parts[::2] == PARTS
    found = dict(zip(parts[::2], parts[1::2], strict=True))
    assert all(part.strip() for part in found.values())
    assert found["Decision"].strip().startswith("> ")
    assert all(line.startswith("- ") for line in found["Alternatives"].strip().splitlines())
    tests = re.findall(r"`(tests/[\w/]+\.py)`", found["Enforced by"])
    assert tests
    assert all((ROOT / path).is_file() for path in tests)


def test_every_decision_is_in_the_index() -> None:
    index = text("decisions/README.md")
    for page in DECISIONS:
        title = page.read_text(encoding="utf-8").partition("\n")[0].split(". ", 1)[1]
        assert f"[{page.name[:4]}]({page.name}) {title}" in index


def test_the_tutorials_message_passes_the_gate() -> None:
    (message,) = re.findall(r"```json\n(.*?)```", text("tutorial/first-five-minutes.md"), re.DOTALL)
    assert [entry.resource_type for entry in Gate().check(message.encode()).entries] == ["Patient", "Condition"]


def test_the_keys_of_the_inboxs_page_are_the_same_in_python_and_in_the_shell() -> None:
    page = text("how-to/kafka-inbox.md")
    names: dict[str, Any] = {}
    exec(re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0], names)
    assert names["key_of"]("4711", b"my own secret") == b"132bac5f50b08cdde88dc4c52d0d221a"
    assert '-hmac "my own secret" -r | cut -c1-32' in page
    assert "\n132bac5f50b08cdde88dc4c52d0d221a: {" in page


def test_the_limits_of_quarantine_and_inboxes_are_the_right_ones() -> None:
    page = text("how-to/quarantine.md")
    assert f"{CAP_MESSAGES:,} messages or {CAP_BYTES // 2**30} GiB" in page
    page = text("how-to/kafka-inbox.md")
    assert f"stay {kafka.INBOX_DAYS} days in the inbox" in page
    assert f"unpack to {batches.CAP // 2**20} MiB and {batches.MAX_RECORDS:,} records" in page
    assert f"at most {judge.MAX_KEY:,} bytes" in page
    assert f"more than {judge.MOST:,} of either" in page


def test_the_number_of_parked_subjects_that_stop_a_worker_is_the_right_one() -> None:
    assert f"More than {MAX_PARKED:,} parked subjects" in text("how-to/parked-subjects.md")
