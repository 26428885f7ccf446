"""The project's own files, for tests that read them, and Python programs that import them."""

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.support.services import ROOT, process_environment

APP = ROOT / "app"
# What ships in app/tasks. Users put modules of their own beside these, which no test judges.
TASKS = APP / "tasks"
SHIPPED_MODULES = {
    "__init__", "base", "common_tasks", "files", "high_priority_tasks", "http_requests", "learning_tasks",
    "mails", "model_tasks", "table_tasks",
}  # fmt: skip
SHIPPED_PACKAGES = {"data", "learning"}
# The tasks of these modules, by name: to these modules, too, a user may add some.
SHIPPED_TASKS = {
    f"app.tasks.{name}"
    for name in (
        "common_tasks.export_tasks",
        "common_tasks.fetch_to_file",
        "common_tasks.fetch_url",
        "common_tasks.long_running_task",
        "common_tasks.profile_data",
        "common_tasks.transform_data",
        "high_priority_tasks.send_email",
        "high_priority_tasks.send_webhook",
        "model_tasks.evaluate_model",
        "model_tasks.predict",
        "model_tasks.train_classifier",
        "model_tasks.train_model",
    )
}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def is_there(entry: str) -> bool:
    """Whether there is such a test file, or test: `unit/test_tiers.py::TestX::test_y`, named from `tests/` on."""
    file, _, test = entry.partition("::")
    words = [word for word in test.partition("[")[0].split("::") if word]
    names = [f"class {word}" if word.startswith("Test") else f"def {word}(" for word in words]
    path = ROOT / "tests" / file
    return path.exists() and all(name in text_of(path) for name in names)


def app_files(*folders: str) -> list[Path]:
    """The modules in these folders of app/, or in all."""
    every = [path for folder in folders or ("",) for path in sorted((APP / folder).rglob("*.py"))]
    found = [path for path in every if not is_a_users(path)]
    assert found, f"no sources in {folders}"
    return found


def assert_none(wrong: Iterable[str]) -> None:
    """Fail with all of these lines, of which pytest would show the first ones of a list."""
    lines = [*wrong]
    if lines:
        pytest.fail("\n".join(lines), pytrace=False)


def tracked_files() -> list[Path]:
    """What is, or could be, in version control, but for a user's tasks; without git nothing."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    found = [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]
    return [path for path in found if not is_a_users(path)]


def is_a_users(path: Path) -> bool:
    """Whether a user has put this file beside the tasks that ship."""
    if not path.is_relative_to(TASKS):
        return False
    inside = path.relative_to(TASKS).with_suffix("")
    return inside.parts[0] not in SHIPPED_PACKAGES and inside.as_posix() not in SHIPPED_MODULES


def without_users_tasks(source: str) -> str:
    """The program, with an empty module in the place of each that a user has put beside the tasks that ship."""
    found = [path for path in TASKS.rglob("*.py") if is_a_users(path)]
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in found]
    stubs = f"import sys; from unittest.mock import MagicMock; sys.modules |= dict.fromkeys({names}, MagicMock())\n"
    return stubs + source if names else source


def run_program(source: str, **variables: str) -> str:
    """What a program of these lines prints, with these environment variables; it must succeed."""
    command, environment = [sys.executable, "-c", source], process_environment(variables)
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
