"""The scripts that a user starts by name: their form, since a wrong one fails only on another machine."""

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

import performance_test
import security_test
from tests.support.services import ROOT

OLD_SYNTAX = ("run_server.py", "run_tests.py")
NEW_NODES = (ast.JoinedStr, ast.NamedExpr, ast.AnnAssign, ast.Match, ast.AsyncFunctionDef)


class TestBatchFile:
    content = (ROOT / "run_unit_tests.bat").read_bytes()

    def test_is_plain_ascii_for_any_code_page_with_windows_line_ends(self) -> None:
        assert self.content.isascii()
        assert self.content.count(b"\n") == self.content.count(b"\r\n") > 5
        assert self.content.endswith(b"\r\n")

    def test_runs_pytest_in_its_own_folder_with_the_options_given_and_returns_its_exit_code(self) -> None:
        parts = ('pushd "%~dp0"', r".venv\Scripts\python.exe", "-m pytest %*", "exit /b %CODE%")
        assert [part for part in parts if part not in self.content.decode()] == []

    def test_keeps_its_line_ends_in_every_clone(self) -> None:
        assert "*.bat text eol=crlf" in (ROOT / ".gitattributes").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", OLD_SYNTAX)
class TestOldPythons:
    def test_can_parse_it(self, name: str) -> None:
        tree = ast.parse((ROOT / name).read_text(encoding="utf-8"), feature_version=(3, 4))
        assert not [type(node).__name__ for node in ast.walk(tree) if isinstance(node, NEW_NODES)]

    def test_are_told_so_in_a_line(self, name: str) -> None:
        program = f"import sys, runpy; sys.version_info = (3, 8, 18); runpy.run_path({name!r}, run_name='__main__')"
        done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert done.stderr.startswith("error: Python 3.11 or newer is needed, and this is 3.8.18")
        assert done.stderr.count("\n") == 1


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("checkout")
    for name in ("run_server.py", "run_tests.py", "requirements.txt"):
        shutil.copy(ROOT / name, place)
    shutil.copytree(ROOT / "app", place / "app", ignore=shutil.ignore_patterns("__pycache__"))
    (place / "tests").mkdir()
    for name in ("tests/__init__.py", "tests/tiers.py", "tests/requirements.txt"):
        shutil.copy(ROOT / name, place / name)
    shutil.copytree(ROOT / "tests" / "report", place / "tests" / "report")
    return place


class TestBeforeAnythingIsInstalled:
    """In a checkout without `.venv`, with a Python that has no packages (`-S`)."""

    @pytest.mark.parametrize(
        ("command", "code", "told"),
        [
            ("run_server.py --help", 0, "--data-dir"),
            ("run_server.py --port 0", 2, "a port is a number from 1 to 65535"),
            ("run_tests.py --help", 0, "--install"),
            ("run_tests.py --list", 0, "suites: unit, integration"),
            ("run_tests.py no-such-suite", 2, "no-such-suite is none of unit"),
            ("run_tests.py --part faults", 2, "--part is a part of --full"),
        ],
    )
    def test_options_are_read(self, checkout: Path, command: str, code: int, told: str) -> None:
        python = [sys.executable, "-S", "-B", *command.split()]
        done = subprocess.run(python, cwd=checkout, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
        assert told in done.stdout + done.stderr
        assert not (checkout / ".venv").exists()


@pytest.mark.parametrize("script", [performance_test, security_test], ids=lambda script: script.__name__)
def test_leaves_every_other_machine_alone(script: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    """Which addresses are refused is checked in test_performance_script.py."""
    assert script.main(["http://192.0.2.1:8000"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert len(said.splitlines()) == 1


def test_a_script_of_the_ci_is_strict_and_executable() -> None:
    scripts = [path for path in (ROOT / ".ci").iterdir() if not path.suffix]
    rules: dict[str, Callable[[Path], bool]] = {
        "begins with #!/usr/bin/env bash": lambda path: path.read_bytes().startswith(b"#!/usr/bin/env bash\n"),
        "has set -euo pipefail": lambda path: b"set -euo pipefail" in path.read_bytes(),
        "is executable": lambda path: os.access(path, os.X_OK),
        "can be parsed": lambda path: subprocess.run(["bash", "-n", path], check=False).returncode == 0,
    }
    assert scripts
    assert [f"not so: {path.name} {rule}" for path in scripts for rule, holds in rules.items() if not holds(path)] == []


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
class TestMakefile:
    def test_tells_every_target_by_default(self) -> None:
        done = subprocess.run(["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        for target in ("help", "run", "fmt", "lint", "types", "check", "test-fast", "test", "test-full", "mutants"):
            assert f"make {target} " in done.stdout
