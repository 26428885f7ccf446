"""The faults that every engine has to stand: each has a test that runs on each engine."""

import os
import re
import subprocess
import sys

import pytest

from tests.report.options import ENGINES
from tests.support.faults.every_engine import ROWS, check_row
from tests.support.services import ROOT

# What is not skipped, by the conditions that pytest itself looks at.
PLUGIN = """
from _pytest.skipping import evaluate_skip_marks

def pytest_collection_finish(session):
    for item in session.items:
        if evaluate_skip_marks(item) is None:
            for marker in item.iter_markers("every_engine"):
                print("row:", marker.args[0])
"""
FOLDERS = ("faults", "integration")


def test_each_has_a_test() -> None:
    named = {
        row
        for folder in FOLDERS
        for path in (ROOT / "tests" / folder).glob("test_*.py")
        for row in re.findall(r'every_engine\("([^"]+)"\)', path.read_text(encoding="utf-8"))
    }
    assert named == set(ROWS)


@pytest.mark.full
@pytest.mark.parametrize("engine", ENGINES)
def test_each_has_a_test_that_is_not_skipped_on_an_engine(
    engine: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    plugins = tmp_path_factory.mktemp("plugins")
    (plugins / "told_rows.py").write_text(PLUGIN, encoding="utf-8")
    files = [
        str(path)
        for folder in FOLDERS
        for path in (ROOT / "tests" / folder).glob("test_*.py")
        if "every_engine" in path.read_text(encoding="utf-8")
    ]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", *files, "--collect-only", "-q", "-m", "every_engine"),
            *("-p", "told_rows", "-p", "no:cacheprovider"),
        ],
        cwd=ROOT, env={**os.environ, "TEST_DATABASE": engine, "PYTHONPATH": f"{ROOT}:{plugins}"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert {line.removeprefix("row: ") for line in done.stdout.splitlines() if line.startswith("row: ")} == set(ROWS)


def test_a_name_that_is_none_of_them_ends_the_collection() -> None:
    with pytest.raises(pytest.UsageError, match="'expire' is none of"):
        check_row(pytest.mark.every_engine("expire").mark)
