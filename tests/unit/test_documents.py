"""The documents tell the truth: what they name exists, what they show parses. Cheap checks; no service is needed."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.api.http.openapi import describe
from app.catalogue import catalogue
from app.core.config import Settings
from app.launcher.server import parser
from app.main import app
from app.models.task import TRANSITIONS

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
DECISIONS = ROOT / "docs" / "adr"
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")
BACKTICKED = re.compile(r"`([^`\n]+)`")
# Written in a document as examples for the reader's own code.
EXAMPLE_TASK = "app.tasks.example_task"


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def blocks(path: Path, language: str) -> list[str]:
    return [body for kind, body in FENCE.findall(text_of(path)) if kind == language]


def prose(path: Path) -> str:
    return FENCE.sub("", text_of(path))


def slug(heading: str) -> str:
    """A heading's anchor, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def anchors(path: Path) -> set[str]:
    return {slug(heading) for heading in re.findall(r"^#+ (.+)$", prose(path), flags=re.MULTILINE)}


def map_paths(tree: str) -> Iterator[str]:
    """The paths of a folder map: four columns of `├── ` a level, and what follows the name explains it."""
    folders: list[str] = []
    for line in tree.splitlines():
        found = re.match(r"((?:[│├└─ ]{4})*)([\w./-]+)", line)
        assert found, f"not a line of a folder map: {line!r}"
        depth, name = len(found[1]) // 4, found[2]
        folders[depth:] = [name]
        yield "".join(folders[: depth + 1])


def tracked_files() -> list[Path]:
    """What is, or could be, in version control; without git every document."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    names = [name for name in listed.stdout.split("\0") if name] if listed.returncode == 0 else []
    return [path for name in names if (path := ROOT / name).is_file()] or DOCUMENTS


def described_paths() -> set[str]:
    return set(describe(app)["paths"])


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
class TestEveryDocument:
    def test_relative_links_resolve(self, path: Path) -> None:
        for target in LINK.findall(prose(path)):
            if re.match(r"\w+:", target):
                continue
            file, _, anchor = target.partition("#")
            linked = path.parent / file if file else path
            assert linked.exists(), target
            assert not anchor or anchor in anchors(linked), target

    def test_files_that_it_names_exist(self, path: Path) -> None:
        named = re.compile(r"(?:app|tests|docs)/[\w./-]*|[\w-]+\.(?:bat|yml|toml|txt)|\.env\.example")
        for quoted in BACKTICKED.findall(prose(path)):
            if named.fullmatch(quoted):
                assert (ROOT / quoted).exists(), quoted

    def test_settings_that_it_names_exist(self, path: Path) -> None:
        """A variable is a setting, or one that docker-compose.yml or a script of the root asks for."""
        known = {name.upper() for name in Settings.model_fields}
        known |= set(re.findall(r"\$\{(\w+)", text_of(ROOT / "docker-compose.yml")))
        known |= {
            name for script in ROOT.glob("*.py") for name in re.findall(r'environ\W+get\W+"?(\w+)', text_of(script))
        }
        for quoted in BACKTICKED.findall(prose(path)):
            found = re.fullmatch(r"([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)(?:=.*)?", quoted)
            assert found is None or found[1] in known, quoted

    def test_python_blocks_parse(self, path: Path) -> None:
        for source in blocks(path, "python"):
            ast.parse(source)

    def test_tasks_that_it_names_are_in_the_catalogue(self, path: Path) -> None:
        named = set(re.findall(r"\bapp\.tasks\.\w+_tasks?\.\w+", text_of(path)))
        assert named - {EXAMPLE_TASK} <= catalogue().keys()

    def test_fences_are_closed(self, path: Path) -> None:
        assert len(re.findall(r"^```", text_of(path), flags=re.MULTILINE)) % 2 == 0


class TestReadme:
    def test_stays_readable(self) -> None:
        assert len(text_of(README).splitlines()) <= 400

    def test_options_of_run_server_exist(self) -> None:
        known = {option for action in parser()._actions for option in action.option_strings}
        lines = [line for line in prose(README).splitlines() if "--data-dir" in line]
        assert lines
        assert {option for line in lines for option in re.findall(r"--[a-z-]+", line)} <= known

    def test_scripts_that_it_runs_exist(self) -> None:
        shown = text_of(README)
        scripts = re.findall(r"(?:python3?|^\$) ([\w.-]+\.py)|`(run_unit_tests\.bat)", shown, flags=re.MULTILINE)
        assert scripts
        assert [name for pair in scripts for name in pair if name and not (ROOT / name).is_file()] == []

    def test_tests_that_it_runs_exist(self) -> None:
        named = re.findall(r"pytest [^`\n]*?(tests/[\w/.]+)", text_of(README))
        assert named
        assert [name for name in named if not (ROOT / name).exists()] == []

    def test_calls_are_routes_of_the_api(self) -> None:
        called = re.findall(r"(?:http://localhost:8000|(?:GET|POST|PATCH|DELETE) )(/api/v1/[\w/$-]*)", text_of(README))
        assert called
        assert {path.replace("$ID", "{task_id}") for path in called} <= described_paths()

    def test_says_what_is_not_there_yet(self) -> None:
        """When one of these is built, the list in the README has to shrink."""
        missing = {"/api/v1/tasks/bulk/cancel", "/api/v1/schedules/"}
        assert missing & described_paths() == set()

    @pytest.mark.parametrize("diagram", blocks(README, "mermaid"), ids=lambda text: text.split()[0])
    def test_diagrams_are_of_a_known_kind(self, diagram: str) -> None:
        assert diagram.split(maxsplit=1)[0] in {"flowchart", "stateDiagram-v2", "sequenceDiagram"}

    def test_the_state_diagram_is_the_table_of_transitions(self) -> None:
        (diagram,) = (text for text in blocks(README, "mermaid") if text.startswith("stateDiagram"))
        drawn = {(source, to) for source, to in re.findall(r"^\s*(\w+) --> (\w+)", diagram, flags=re.MULTILINE)}
        assert drawn == {(source.value, to.value) for source, all_to in TRANSITIONS.items() for to in all_to}


class TestArchitecture:
    def test_paths_of_the_folder_map_exist(self) -> None:
        (tree, *_) = blocks(ROOT / "docs" / "architecture.md", "")
        assert [path for path in map_paths(tree) if not (ROOT / path).exists()] == []

    def test_no_room_is_missing_from_the_folder_map(self) -> None:
        (tree, *_) = blocks(ROOT / "docs" / "architecture.md", "")
        rooms = {f"app/{path.parent.name}/" for path in (ROOT / "app").glob("*/__init__.py")}
        assert rooms <= set(map_paths(tree))


class TestDecisions:
    FILES = sorted(path for path in DECISIONS.glob("[0-9]*.md"))

    def test_are_numbered_without_a_gap(self) -> None:
        assert [path.name[:4] for path in self.FILES] == [f"{number:04}" for number in range(1, len(self.FILES) + 1)]

    def test_are_all_in_the_index(self) -> None:
        linked = LINK.findall(text_of(DECISIONS / "README.md"))
        assert linked == [path.name for path in self.FILES]

    @pytest.mark.parametrize("path", FILES, ids=name_of)
    def test_have_the_four_parts(self, path: Path) -> None:
        parts = re.findall(r"^## (.+)$", text_of(path), flags=re.MULTILINE)
        assert parts == ["Context", "Decision", "Consequence", "Rejected"]
        assert text_of(path).startswith(f"# {path.name[:4]}: ")


class TestTrackedFiles:
    def test_name_no_place_of_one_machine(self) -> None:
        place = re.compile(r"(?<![\w.])/(?:work|root|home/\w+|Users/\w+)/")
        found = []
        for path in tracked_files():
            try:
                text = text_of(path)
            except UnicodeDecodeError:
                continue
            if path != Path(__file__) and place.search(text):
                found.append(name_of(path))
        assert found == []


class TestGuarantees:
    """docs/guarantees.md promises what a test has seen; a test that is gone proves nothing."""

    NAMED = re.compile(r"`[^`]*::(test_\w+)`")
    PAGE = ROOT / "docs" / "guarantees.md"

    def test_every_test_that_it_names_exists(self) -> None:
        named = set(self.NAMED.findall(text_of(self.PAGE)))
        written = {
            node.name
            for path in (ROOT / "tests").rglob("test_*.py")
            for node in ast.walk(ast.parse(text_of(path)))
            if isinstance(node, ast.FunctionDef)
        }
        assert len(named) > 30
        assert named - written == set()

    def test_every_row_of_a_promise_names_one(self) -> None:
        rows = [line for line in text_of(self.PAGE).splitlines() if line.startswith("| ") and "|---" not in line]
        promises = [row for row in rows if not row.startswith(("| promise", "| without"))]
        assert [row for row in promises if not self.NAMED.search(row)] == []
