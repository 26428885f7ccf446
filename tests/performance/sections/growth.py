"""Lists, counts, the maintenance pass, claim and finish while the table grows: against the smallest size."""

import re
from typing import Any

from tests.performance.bench import Bench
from tests.performance.findings import Findings
from tests.performance.goals import Goal, ratio
from tests.performance.growth import measure as measure_growth

# By what a line is called: a ratio to the smallest size, or milliseconds at the largest.
GOALS = (
    (re.compile(r"maintenance|claim|finish", re.IGNORECASE), Goal(at_most=1.2)),
    (re.compile(r"filter|absent|substring|created_|tag|type", re.IGNORECASE), Goal(at_most=50, unit="ms")),
    (re.compile(r"count", re.IGNORECASE), Goal(at_most=10, unit="ms")),
    (re.compile(r""), Goal(at_most=1.5)),
)


def measure(bench: Bench) -> Findings:
    findings = Findings("growth", axes=("rows of tasks", "milliseconds in the database"))
    database = bench.services.new_database()
    try:
        lines = measure_growth(bench.services.database_url(database), list(bench.size.rows), bench.size.backlog)
    finally:
        bench.services.drop_database(database)
    tell(findings, lines)
    return findings


def tell(findings: Findings, lines: list[dict[str, Any]]) -> None:
    """A curve and a row for each `what`."""
    findings.details["lines"] = lines
    for line in lines:
        point = (float(line["rows"]), float(line["milliseconds"]))
        findings.curves.setdefault(str(line["what"]), []).append(point)
    for what, curve in findings.curves.items():
        curve.sort()
        goal = next(goal for pattern, goal in GOALS if pattern.search(what))
        (_, small), (rows, large) = curve[0], curve[-1]
        values = [ratio(large, small)] if goal.unit == "×" else [large]
        against = f"{curve[0][0]:,.0f} rows" if goal.unit == "×" else "—"
        note = f"{small:.2f} → {large:.2f} ms"
        findings.compare(f"{what} at {rows:,.0f} rows", against, goal, values, note)
