"""What became of a test, as a session of pytest leaves it in a file."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.report.model import Outcome

# In a report's `user_properties`, and the name of a marker: no second run may turn this failure green.
PROMISE = "promise"
SESSION = "the session itself"
# In a report's `user_properties`, with one of those that decide on a test's tier, whatever `tests/tiers.py` says of it. (The keywords
# of a report name its folders, too, up to that of the checkout.)
MARKER = "marker"
MARKERS = ("full", "every_engine")


class BrokenPromise(AssertionError):
    """What the service promises did not hold: work was lost or doubled, or a record lies."""


@contextmanager
def is_promised() -> Iterator[None]:
    """What is asserted within is a promise of the service."""
    try:
        yield
    except AssertionError as error:
        raise BrokenPromise(str(error)) from error


@dataclass
class Recorded:
    """One test. `nodeid` begins with `tests/`; `text` has a failure's traceback and logs, or why it was skipped.

    `not_run`: it failed since the session ended before it. `marker`: which of MARKERS it has. `fixtures`: which of the
    seconds its fixtures took, among them those that others use too."""

    suite: str
    nodeid: str
    outcome: Outcome = "passed"
    seconds: float = 0.0
    text: str = ""
    promise: bool = False
    not_run: bool = False
    marker: str = ""
    fixtures: float = 0.0

    def add(self, report: pytest.TestReport, *, keep_output: bool = False) -> None:
        """Its setup, its call or its teardown. `keep_output`: also what a test says that passes."""
        self.seconds += report.duration
        self.fixtures += report.duration if report.when != "call" else 0.0
        self.marker = str(dict(report.user_properties).get(MARKER, ""))
        logs = "\n".join(f"── {title}\n{text}" for title, text in report.sections if text.strip())
        if report.failed:
            self.outcome = "failed"
            self.text = f"{self.text}{report.longreprtext}\n{logs}\n"
            self.promise = self.promise or PROMISE in dict(report.user_properties)
        elif report.skipped and self.outcome == "passed":
            self.outcome = "skipped"
            self.text = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext
        elif keep_output:
            self.text += logs


def read(path: Path) -> list[Recorded]:
    """What a session has written; empty where it ended before it could."""
    return [Recorded(**test) for test in json.loads(path.read_text(encoding="utf-8"))] if path.exists() else []
