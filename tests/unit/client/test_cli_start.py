"""Help and completion are quick: they load none of what the commands need."""

import os
import resource
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


class TestCPU:
    """Beside an application of typer with one command that says hello."""

    HELLO = """
import typer
app = typer.Typer()
@app.command()
def hello(name: str = "you") -> None:
    print(f"Hello {name}")
app(prog_name="hello")
"""
    OURS = "from task_service_client.cli import main; main()"
    MOST = 1.5

    def test_of_help(self) -> None:
        assert self.seconds(self.OURS, "--help") <= self.MOST * self.seconds(self.HELLO, "--help")

    def test_of_completion(self) -> None:
        ours = {"_TASK_SERVICE_COMPLETE": "complete_bash", "COMP_CWORD": "1", "COMP_WORDS": "task-service wo"}
        hello = {"_HELLO_COMPLETE": "complete_bash", "COMP_CWORD": "1", "COMP_WORDS": "hello --"}
        assert self.seconds(self.OURS, **ours) <= self.MOST * self.seconds(self.HELLO, **hello)

    @staticmethod
    def seconds(program: str, *words: str, **env: str) -> float:
        """The CPU seconds of a run, the least of nine: others share the caches of the processor."""
        variables = {**os.environ, "PYTHONPATH": str(ROOT / "client"), **env}
        found = []
        for _ in range(9):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run([sys.executable, "-c", program, *words], env=variables, check=True, capture_output=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            found.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        return min(found)
