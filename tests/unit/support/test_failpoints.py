"""The failpoints of the fault tests, in processes of their own: they change whatever module they are installed in."""

import importlib
import re
import subprocess
import sys
from functools import reduce
from pathlib import Path
from typing import Any

import pytest

from tests.support.faults.failpoints import failpoints
from tests.support.services import ROOT

# A function that another module has imported by name, and a classmethod.
NAME = "app.core.host_rules:normal_name"
RULES = "app.core.host_rules:HostRules.of"
# How tests name what they break or stop in other processes; the application is what `uvicorn` starts.
PLACE = re.compile(r'"(app\.(?!main:)[a-z_.]+):([A-Za-z_.]+)"')
PROGRAM = """
import app.core.host_rules, app.outbound.targets, tests.support.faults.failpoints
for call in (lambda: app.outbound.targets.normal_name("A"),) * 2 + ({more}):
    try:
        print(call())
    except Exception as error:
        print(type(error).__name__)
"""


def run(*points: dict[str, Any], more: str = "") -> tuple[int, list[str]]:
    """The exit code and what was printed."""
    environment = {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **failpoints(*points)}
    command = [sys.executable, "-c", PROGRAM.format(more=more)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout.splitlines()


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_point_kills_once_among_all_processes(tmp_path: Path, when: str) -> None:
    point = {"at": NAME, "do": "kill", "when": when, "once_file": str(tmp_path / "once")}
    assert run(point) == (-9, [])
    assert (tmp_path / "once").exists()
    assert run(point) == (0, ["a", "a"])


def test_a_point_raises_so_many_times_in_every_module_that_imported_the_function(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    gate.touch()
    raising = {"at": NAME, "do": "raise:celery.exceptions.Ignore", "times": 2}
    method = {"at": RULES, "do": "raise:KeyError"}
    waiting = {"at": NAME, "do": f"wait:{gate}"}
    more = "lambda: app.core.host_rules.HostRules.of([]),"
    assert run(raising, waiting, method, more=more) == (0, ["Ignore", "Ignore", "KeyError"])


def test_every_place_that_a_test_names_is_there() -> None:
    """Else the process that is to die there does not start, and that is seen at night alone."""
    texts = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "tests").rglob("*.py"))]
    places = {found.groups() for text in texts for found in PLACE.finditer(text)}
    assert len(places) > 30
    for module, path in sorted(places):
        reduce(getattr, path.split("."), importlib.import_module(module))
