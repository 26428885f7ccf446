"""Help and completion are quick: they load none of what the commands need."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.services import ROOT

HEAVY = ("httpx", "pydantic", "asyncio", "rich.live", "rich.progress", "task_service_client.models", "ssl")
PROGRAM = """
import sys
from task_service_client.cli import main
try:
    main()
finally:
    print(*sys.modules, file=sys.stderr)
"""


def modules(folder: Path, *words: str, **env: str) -> tuple[str, set[str]]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TASK_SERVICE")}
    kept |= {"PYTHONPATH": str(ROOT / "client"), "TASK_SERVICE_CONFIG": str(folder), "LC_ALL": "C.UTF-8", **env}
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words], env=kept, capture_output=True, text=True, timeout=60, check=True
    )
    return ran.stdout, set(ran.stderr.splitlines()[-1].split())


@pytest.mark.parametrize("words", [["--help"], ["submit", "--help"], ["files", "--help"], ["--version"]])
def test_help_loads_little(tmp_path: Path, words: list[str]) -> None:
    said, loaded = modules(tmp_path, *words)
    assert "task-service" in said
    assert not loaded & {*HEAVY}


def test_completion_loads_little(tmp_path: Path) -> None:
    words = {"_TASK_SERVICE_COMPLETE": "complete_bash", "COMP_CWORD": "1", "COMP_WORDS": "task-service wo"}
    said, loaded = modules(tmp_path, **words)
    assert said.split() == ["workflows", "workers"] or said.split() == ["workers", "workflows"]
    assert not loaded & {*HEAVY, "rich"}


def test_profiles_are_completed(tmp_path: Path) -> None:
    (tmp_path / "profiles.json").write_text(
        '{"profiles": {"one": {"url": "x"}, "two": {"url": "y"}}}', encoding="utf-8"
    )
    words = {"_TASK_SERVICE_COMPLETE": "complete_bash", "COMP_CWORD": "3", "COMP_WORDS": "task-service ls --profile o"}
    assert modules(tmp_path, **words)[0].split() == ["one"]
    (tmp_path / "profiles.json").write_text("[broken", encoding="utf-8")
    assert modules(tmp_path, **words)[0].split() == []
