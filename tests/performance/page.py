"""What a run writes into docs/performance.md: the rows that people ask for, in this order, and the table of peers.

All rows of all sections are printed and in the JSON.
"""

import re
import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from tests.performance.capacity_tables import markdown_table
from tests.performance.findings import Findings
from tests.performance.goals import Comparison, figure

# The beginnings of what is compared.
SHOWN = (
    "requests/s of POST /tasks/,",
    r"tasks/s of POST /tasks/batch",
    r"requests/s of GET /tasks/\{id\}",
    "start: 201 → first line of the body, p(50|99)$",
    "no-op tasks/s through worker",
    "CPU of a no-op task",
    "memory: .*, after",
    "live: .*p50",
    "p99 wait, critical behind",
    "20 users by weights",
    "a step$",
    "CPU of a task of",
    "from submit to end, a chain",
    "tasks/s of a chord",
    "start of a child",
    "bulk ",
    "p99 of a submit beside",
    "1,000 schedules",
    "webhooks/s, 64",
    "start: .*p99, beside 100 webhooks",
    "(profile|transform) .*CPU",
    "run_server.py: (warm start until ready$|all Python|a worker)",
    "list, first page at",
    "count, filter by an absent substring",
    "count, created_before",
    "claim at [0-9,]+ pending rows$",
)
PEERS_HEAD = ("", "keeps of an ended task", "tasks/s", "CPU µs of a task", "call → body, p50 and p99 ms")


def rows(found: Iterable[Findings]) -> list[Comparison]:
    """Return the rows of the page that were measured."""
    every = [row for findings in found for row in findings.rows]
    return [row for begin in SHOWN for row in every if re.match(begin, row.what)]


def peers(found: Iterable[Findings]) -> str | None:
    """Return the table of the section `peers`, as Markdown; None where it was not measured."""
    measured: Sequence[dict[str, Any]] = [
        row for findings in found for row in findings.details.get("peers", [])
    ]  # fmt: skip
    if not measured:
        return None
    return markdown_table(PEERS_HEAD, [_cells(row) for row in measured])


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    rates, starts = row["per_second"], row["start_milliseconds"]
    spread = f" ({figure(min(rates))}–{figure(max(rates))})" if len(rates) > 1 else ""
    return (
        row["name"],
        row["keeps"],
        figure(statistics.median(rates)) + spread,
        figure(row["cpu_microseconds"]),
        f"{starts['p50']:.1f} · {starts['p99']:.1f}",
    )
