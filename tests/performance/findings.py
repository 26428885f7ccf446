"""What a section brings back: rows of the table, material for plots, figures for the record, and what went wrong."""

from dataclasses import dataclass, field
from typing import Any

from tests.performance.goals import Comparison, Goal

# Points of a curve: (x, y).
Curve = list[tuple[float, float]]


@dataclass
class Findings:
    section: str
    rows: list[Comparison] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)
    latencies: dict[str, list[float]] = field(default_factory=dict)  # seconds
    curves: dict[str, Curve] = field(default_factory=dict)
    axes: tuple[str, str] = ("", "")  # of the curves
    seconds: float = 0.0

    def compare(self, what: str, against: str, goal: Goal, values: list[float], note: str = "") -> None:
        """One more row of the table."""
        self.rows.append(Comparison(what, against, goal, values, note))

    def as_json(self) -> dict[str, Any]:
        return {
            "section": self.section,
            "seconds": self.seconds,
            "rows": [row.as_json() for row in self.rows],
            "errors": self.errors,
            "details": self.details,
            "curves": self.curves,
        }
