"""A chart of numbers by step of time, with the same numbers as rows of a table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.web import charts


@dataclass(frozen=True)
class Plot:
    """The chart, the sum of each kind, and the steps in which anything happened: begin and number of each kind."""

    chart: charts.Chart
    totals: dict[str, int]
    rows: list[tuple[datetime, list[int]]]
    step_seconds: int


def plot(
    begin: datetime,
    step_seconds: int,
    stacked: Mapping[str, Sequence[int]],
    lines: Mapping[str, Sequence[int]] | None = None,
) -> Plot:
    """Return the picture of these numbers of each step of time, the first of which begins at `begin`."""
    lines = lines or {}
    kinds = {**lines, **stacked}
    rows = [
        (begin + at * timedelta(seconds=step_seconds), list(numbers))
        for at, numbers in enumerate(zip(*kinds.values(), strict=True))
        if any(numbers)
    ]
    totals = {kind: sum(numbers) for kind, numbers in kinds.items()}
    return Plot(charts.chart(begin, step_seconds, stacked=stacked, lines=lines), totals, rows, step_seconds)
