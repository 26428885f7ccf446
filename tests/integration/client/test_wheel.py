"""The wheel of the client, installed alone: without the service's code."""

import subprocess
import sys
from pathlib import Path

from tests.support.services import ROOT

LOADED = """
import sys, task_service_client
from task_service_client import AsyncClient, Client
print(task_service_client.__file__, task_service_client.__version__)
print(*sorted({name.partition(".")[0] for name in sys.modules} & {"app", "celery", "sqlalchemy", "typer"}))
"""


def run(*command: str, directory: Path, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *command], cwd=directory, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def test_holds_the_client_and_its_command_and_nothing_of_the_service(tmp_path: Path) -> None:
    pip = ("-m", "pip", "--disable-pip-version-check", "--no-input")
    built = tmp_path / "source"
    listed = subprocess.run(["git", "ls-files", "-z", "client"], cwd=ROOT, check=True, capture_output=True, text=True)
    for name in listed.stdout.split("\0")[:-1]:
        target = built / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((ROOT / name).read_bytes())
    run(
        *pip,
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--quiet",
        "-w",
        str(tmp_path),
        str(built / "client"),
        directory=tmp_path,
    )
    (wheel,) = tmp_path.glob("task_service_client-*.whl")
    alone = tmp_path / "alone"
    run(*pip, "install", "--no-deps", "--quiet", "--target", str(alone), str(wheel), directory=tmp_path)
    place, modules = run("-c", LOADED, directory=tmp_path, PYTHONPATH=str(alone)).splitlines()
    assert place == f"{alone / 'task_service_client' / '__init__.py'} {wheel.name.split('-')[1]}"
    assert modules == ""
    help_text = run("-m", "task_service_client.cli", "--help", directory=tmp_path, PYTHONPATH=str(alone), NO_COLOR="1")
    assert "submit" in help_text
    chinese = run(
        "-m", "task_service_client.cli", "--help", directory=tmp_path, PYTHONPATH=str(alone), LC_ALL="zh_CN.UTF-8"
    )
    assert "任务" in chinese
    assert (alone / "task_service_client" / "py.typed").exists()
    assert (alone / "bin" / "task-service").exists()
