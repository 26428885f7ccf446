"""The failpoints of the fault tests, in processes of their own: they change whatever module they are installed in."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.faults.failpoints import failpoints
from tests.support.services import ROOT

# A function that another module has imported by name, a classmethod, a method.
BACKOFF = "app.tasks.retries:backoff_seconds"
PROGRAM = """
import app.tasks.retries, app.tasks.base, tests.support.faults.failpoints
call = {call}
for _ in range({times}):
    try:
        print(call())
    except Exception as error:
        print(type(error).__name__, error)
"""
BY_NAME = "lambda: app.tasks.base.backoff_seconds(1, 0, maximum=600, jitter=False)"


def run(*points: dict[str, Any], call: str = BY_NAME, times: int = 2) -> tuple[int, list[str]]:
    """The exit code and what was printed."""
    environment = {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **failpoints(*points)}
    program = PROGRAM.format(call=call, times=times)
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout.splitlines()


class TestAPoint:
    def test_kills_before_the_call(self) -> None:
        assert run({"at": BACKOFF, "do": "kill"}) == (-9, [])

    def test_acts_after_the_call(self, tmp_path: Path) -> None:
        once = tmp_path / "once"
        assert run({"at": BACKOFF, "do": "kill", "when": "after", "once_file": str(once)}) == (-9, [])
        assert once.exists()

    def test_raises_so_many_times_in_whoever_imported_the_function(self) -> None:
        code, lines = run({"at": BACKOFF, "do": "raise:ValueError", "times": 2}, times=3)
        assert (code, lines) == (0, [f"ValueError failpoint at {BACKOFF}"] * 2 + ["1"])

    def test_acts_in_one_process_of_many(self, tmp_path: Path) -> None:
        point = {"at": BACKOFF, "do": "raise:celery.exceptions.Ignore", "once_file": str(tmp_path / "once")}
        assert run(point)[1] == [f"Ignore failpoint at {BACKOFF}", "1"]
        assert run(point)[1] == ["1", "1"]

    def test_waits_for_a_file(self, tmp_path: Path) -> None:
        gate = tmp_path / "gate"
        gate.touch()
        assert run({"at": BACKOFF, "do": f"wait:{gate}"}) == (0, ["1", "1"])

    def test_may_be_a_method(self) -> None:
        at = "app.worker.child.attempt_run:AttemptRun.claim_for"
        call = "lambda: app.tasks.base.AttemptRun.claim_for(None, None)"
        assert run({"at": at, "do": "raise:KeyError"}, call=call, times=1)[1] == [f"KeyError 'failpoint at {at}'"]

    def test_is_told_as_json(self) -> None:
        points = failpoints({"at": BACKOFF, "do": "kill"})
        assert json.loads(points["FAILPOINTS"]) == [{"at": BACKOFF, "do": "kill"}]
        assert json.loads(points["TASK_MODULES"])[-1] == "tests.support.faults.failpoints"
