"""What a run came to."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

ROOT = Path(__file__).resolve().parents[2]
REPORTS = ROOT / "reports"

Outcome = Literal["passed", "failed", "skipped"]


@dataclass(frozen=True)
class Case:
    """One test, one security check or one measured endpoint."""

    suite: str
    group: str
    name: str
    outcome: Outcome
    seconds: float
    text: str = ""


@dataclass
class SuiteResult:
    """`note` tells why a suite has no cases; a suite without tests is absent, never passed."""

    name: str
    cases: list[Case] = field(default_factory=list)
    seconds: float = 0.0
    note: str = ""

    def count(self, outcome: Outcome) -> int:
        return sum(case.outcome == outcome for case in self.cases)

    @property
    def state(self) -> str:
        if not self.cases:
            return "absent"
        if self.count("failed"):
            return "failed"
        return "passed" if self.count("passed") else "skipped"


@dataclass(frozen=True)
class Flaky:
    """A test that failed, and passed when it was run again; with what it said both times."""

    suite: str
    nodeid: str
    first: str
    second: str
    started: str = ""


@dataclass
class Run:
    """All of it, as the page shows it."""

    suites: list[SuiteResult]
    started: str
    seconds: float
    machine: str
    flaky: list[Flaky] = field(default_factory=list)
    coverage: dict[str, Any] | None = None
    security: dict[str, Any] | None = None
    performance: dict[str, Any] | None = None

    def count(self, outcome: Outcome) -> int:
        return sum(suite.count(outcome) for suite in self.suites)

    def cases(self, outcome: Outcome | None = None) -> list[Case]:
        return [case for suite in self.suites for case in suite.cases if outcome in (None, case.outcome)]
