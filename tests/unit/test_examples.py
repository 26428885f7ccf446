"""The packages in docs/examples: their own tests pass as a team would run them."""

import os
import subprocess
import sys

import pytest

from tests.support.services import ROOT, process_environment

EXAMPLES = sorted(path for path in (ROOT / "docs" / "examples").iterdir() if path.is_dir())


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_passes_its_own_tests(example: os.PathLike[str]) -> None:
    environment = process_environment({}) | {"PYTHONPATH": f"{ROOT}{os.pathsep}{os.fspath(example)}"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", os.fspath(example), "-c", os.devnull, "tests"]  # fmt: skip
    done = subprocess.run(command, cwd=example, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
