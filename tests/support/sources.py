"""The project's own files, for tests that read them, and Python programs that import them."""

import subprocess
import sys
from pathlib import Path

from tests.support.services import ROOT, process_environment

APP = ROOT / "app"


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def app_files(*folders: str) -> list[Path]:
    """The modules in these folders of app/, or in all."""
    found = [path for folder in folders or ("",) for path in sorted((APP / folder).rglob("*.py"))]
    assert found, f"no sources in {folders}"
    return found


def tracked_files() -> list[Path]:
    """What is, or could be, in version control; without git nothing."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def run_program(source: str, **variables: str) -> str:
    """What a program of these lines prints, with these environment variables; it must succeed."""
    command, environment = [sys.executable, "-c", source], process_environment(variables)
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
