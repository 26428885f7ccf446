"""The packages, the unit tests and a task on each Python that pyproject.toml names, where this machine has it."""

import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.running import Running
from tests.support.services import ROOT, Services, process_environment
from tests.support.stack import Stack

PREFIX = "Programming Language :: Python :: 3."
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
VERSIONS = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if line.startswith(PREFIX)]


def run(command: Sequence[str | Path], env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


def new_venv(version: str, directory: Path) -> Path:
    """The Python of an environment of this version, made by that Python or by uv; skips where neither can."""
    if version == f"{sys.version_info[0]}.{sys.version_info[1]}":
        pytest.skip("every other test runs on it")
    venv = directory / "venv"
    ways = [(f"python{version}", "-m", "venv", venv), ("uv", "venv", "--quiet", "--seed", "--python", version, venv)]
    said = "neither is on PATH"
    for way in ways:
        if shutil.which(way[0]):
            done = run(way)
            if done.returncode == 0:
                return venv / "bin" / "python"
            said = (done.stdout + done.stderr).strip()
    pytest.skip(f"no Python {version} and no uv that has one: {said}")


@pytest.mark.full
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("version", VERSIONS)
def test_the_service_works_on_it(version: str, services: Services, tmp_path: Path) -> None:
    """Needs a package index. What the owner does: install requirements.txt, run the unit tests, start the service."""
    python = new_venv(version, tmp_path)
    install = [python, "-m", "pip", "install", "--quiet", "--only-binary", ":all:", "-r", "requirements.txt"]
    installed = run(install)
    assert installed.returncode == 0, installed.stderr
    tested = run([python, "-m", "pytest", "tests/unit", "-q", "-p", "no:cacheprovider"], process_environment({}))
    assert tested.returncode == 0, tested.stdout[-20_000:]
    with Stack(services, tmp_path) as stack:
        stack.python = str(python)
        stack.worker()
        stack.beat()
        running = Running(stack)
        for name, kwargs in (
            ("common_tasks.long_running_task", {"duration": 0.1}),
            ("model_tasks.train_classifier", {}),
        ):
            assert running.run(f"app.tasks.{name}", kwargs=kwargs)["status"] == "succeeded"
