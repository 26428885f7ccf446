"""The files by which other tools know the project agree with it."""

import ast
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import yaml
from packaging.utils import canonicalize_name

from tests.support.requirements_files import DEV_LOCK, LOCK, PROJECT, ROOT, beside_the_image, locked, tools
from tests.support.sources import assert_none, name_of, text_of, tracked_files
from tests.support.tools import needs
from tests.tiers import PARTS

NO_TEXT = {".png", ".svg"}


def load(path: str) -> Any:
    return yaml.safe_load(text_of(ROOT / path))


def runs(job: dict[str, Any]) -> list[str]:
    return [step["run"] for step in job["steps"] if "run" in step]


def test_the_public_ci_runs_the_same_script() -> None:
    assert runs(load(".github/workflows/ci.yml")["jobs"]["ci"]) == [".ci/run"]


def test_each_night_all_parts_run_on_every_python() -> None:
    job = load(".github/workflows/nightly.yml")["jobs"]["part"]
    assert runs(job) == [".ci/nightly --part ${{ matrix.part }}"]
    named = {line.rpartition(" ")[2] for line in PROJECT["classifiers"] if "Python :: 3." in line}
    assert {*job["strategy"]["matrix"]["python"]} == named
    assert job["strategy"]["matrix"]["part"] == [*PARTS]


def test_hooks_of_pre_commit_use_the_tools_of_the_environment() -> None:
    (local,) = load(".pre-commit-config.yaml")["repos"]
    assert local["repo"] == "local"
    for hook in local["hooks"]:
        command = hook["entry"].removeprefix(".venv/bin/")
        tool = "pytest" if command.startswith("python -m pytest") else command.split()[0]
        assert command != hook["entry"]
        assert tool in tools() | beside_the_image()


def imported(path: Path) -> Iterator[str]:
    """The modules that the file imports at its top, with what is taken from them."""
    for node in ast.parse(text_of(path)).body:
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{each.name}" for each in node.names)


def modules_of_the_tests(name: str) -> Iterator[Path]:
    parts = name.split(".")
    for number in range(1, len(parts) + 1):
        path = ROOT.joinpath(*parts[:number])
        yield from (each for each in (path.with_suffix(".py"), path / "__init__.py") if each.is_file())


@needs("hypothesis")
def test_the_unit_tests_need_no_package_of_the_other_requirements_file() -> None:
    """`pip install -r requirements.txt` is enough for `pytest tests/unit`; `tests.support.tools` imports the others."""
    others = tools().keys() - {pin.name for lock in (LOCK, DEV_LOCK) for pin in locked(lock)}
    of_tools = {name for name, owners in packages_distributions().items() if others & {*map(canonicalize_name, owners)}}
    assert {"hypothesis", "xdist", "cyclonedx"} <= of_tools
    to_read = [*(ROOT / "tests" / "unit").rglob("*.py")]
    read: set[Path] = set()
    wrong = []
    while to_read:
        path = to_read.pop()
        if path in read:
            continue
        read.add(path)
        for name in imported(path):
            if name.partition(".")[0] in of_tools:
                wrong.append(f"{name_of(path)}: imports {name}")
            elif name.startswith("tests."):
                to_read += modules_of_the_tests(name)
    assert len(read) > 200
    assert_none(sorted(wrong))


def test_github_can_read_its_files() -> None:
    read = {path: load(name_of(path)) for path in (ROOT / ".github").rglob("*.yml")}
    assert len(read) > 2
    assert_none(f"{name_of(path)} holds no names" for path, content in read.items() if not isinstance(content, dict))


def test_dependabot_reads_both_requirements_files() -> None:
    (python,) = [each for each in load(".github/dependabot.yml")["updates"] if each["package-ecosystem"] == "pip"]
    assert all((ROOT / folder.strip("/") / "requirements.txt").exists() for folder in python["directories"])
    assert set(python["directories"]) == {"/", "/tests"}


def test_text_files_keep_to_the_editorconfig() -> None:
    contents = {name_of(path): path.read_bytes() for path in tracked_files() if path.suffix not in NO_TEXT}
    assert_none(f"{name}: ends in no line break" for name, text in contents.items() if text and text[-1:] != b"\n")
    of_windows = [name for name, text in contents.items() if b"\r\n" in text]
    assert_none(f"{name}: has line breaks of Windows" for name in of_windows if not name.endswith(".bat"))
    assert_none(
        f"{name}:{number}: ends in white space"
        for name, text in contents.items()
        if b" \n" in text or b"\t\n" in text
        for number, line in enumerate(text.split(b"\n"), start=1)
        if line.endswith((b" ", b"\t"))
    )
