"""The files by which other tools know the project agree with it."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.requirements_files import ROOT, beside_the_image, tools
from tests.support.sources import text_of, tracked_files
from tests.tiers import PARTS
from tests.unit.test_packages import PROJECT

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


@pytest.mark.parametrize("path", [*(ROOT / ".github").rglob("*.yml")], ids=lambda path: path.name)
def test_github_can_read_it(path: Path) -> None:
    assert isinstance(yaml.safe_load(text_of(path)), dict)


def test_dependabot_reads_both_requirements_files() -> None:
    (python,) = [each for each in load(".github/dependabot.yml")["updates"] if each["package-ecosystem"] == "pip"]
    assert all((ROOT / folder.strip("/") / "requirements.txt").exists() for folder in python["directories"])
    assert set(python["directories"]) == {"/", "/tests"}


def test_text_files_keep_to_the_editorconfig() -> None:
    contents = {path: path.read_bytes() for path in tracked_files() if path.suffix not in NO_TEXT}
    assert [path for path, text in contents.items() if text and not text.endswith(b"\n")] == []
    assert [path for path, text in contents.items() if b" \n" in text or b"\t\n" in text] == []
    assert {path.suffix for path, text in contents.items() if b"\r\n" in text} <= {".bat"}
