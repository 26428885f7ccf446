"""The failpoints of the fault tests, in processes of their own: they change whatever module they are installed in."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.faults.failpoints import failpoints
from tests.support.services import ROOT

# A function that another module has imported by name, and a classmethod.
BACKOFF = "app.core.backoff:backoff_seconds"
QUEUE = "app.services.audit.recording:Subject.queue"
PROGRAM = """
import app.core.backoff, app.services.audit.recording, app.worker.child.record_runner, tests.support.faults.failpoints
for call in (lambda: app.worker.child.record_runner.backoff_seconds(1, 0, maximum=600, jitter=False),) * 2 + ({more}):
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
    point = {"at": BACKOFF, "do": "kill", "when": when, "once_file": str(tmp_path / "once")}
    assert run(point) == (-9, [])
    assert (tmp_path / "once").exists()
    assert run(point) == (0, ["1", "1"])


def test_a_point_raises_so_many_times_in_every_module_that_imported_the_function(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    gate.touch()
    raising = {"at": BACKOFF, "do": "raise:celery.exceptions.Ignore", "times": 2}
    method = {"at": QUEUE, "do": "raise:KeyError"}
    waiting = {"at": BACKOFF, "do": f"wait:{gate}"}
    more = "lambda: app.services.audit.recording.Subject.queue(None),"
    assert run(raising, waiting, method, more=more) == (0, ["Ignore", "Ignore", "KeyError"])
