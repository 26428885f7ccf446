"""What is compared with what, what it should come to, and whether it did."""

import statistics
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Goal:
    """At least, or at most, so much of a unit; `×` is a ratio to what it is compared with."""

    at_least: float | None = None
    at_most: float | None = None
    unit: str = "×"

    def __str__(self) -> str:
        if self.at_least is not None:
            return f"≥ {figure(self.at_least)} {self.unit}".rstrip()
        return f"≤ {figure(self.at_most)} {self.unit}".rstrip() if self.at_most is not None else "—"

    def reached(self, value: float) -> bool | None:
        if self.at_least is not None:
            return value >= self.at_least
        return value <= self.at_most if self.at_most is not None else None


@dataclass
class Comparison:
    """One row of the table: a value for each round."""

    what: str
    against: str
    goal: Goal
    values: list[float] = field(default_factory=list)
    note: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def reached(self) -> bool | None:
        """None where nothing is asked."""
        return self.goal.reached(self.median)

    @property
    def verdict(self) -> str:
        return {True: "reached", False: "NOT REACHED", None: "—"}[self.reached]

    @property
    def measured(self) -> str:
        """The median of the rounds and, where they differ, their extremes."""
        text = f"{figure(self.median)} {self.goal.unit}".rstrip()
        low, high = figure(min(self.values)), figure(max(self.values))
        return text if low == high else f"{text} ({low}–{high})"

    def as_json(self) -> dict[str, Any]:
        return {
            "what": self.what,
            "against": self.against,
            "goal": str(self.goal),
            "unit": self.goal.unit,
            "values": self.values,
            "median": self.median,
            "measured": self.measured,
            "verdict": self.verdict,
            "reached": self.reached,
            "note": self.note,
        }


def figure(value: float) -> str:
    """Three significant digits, without an exponent."""
    size = abs(value)
    if size >= 100:
        return f"{value:,.0f}"
    digits = 1 if size >= 10 else 2 if size >= 1 else 3
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def ratio(value: float, base: float) -> float:
    """0 of nothing: a comparator that did no work is an error elsewhere, and no infinity here."""
    return value / base if base else 0.0
