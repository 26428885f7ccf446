"""The table of all sections: printed, and as Markdown ready for the documents."""

import statistics
from collections.abc import Sequence
from typing import Any

from tests.performance import page
from tests.performance.capacity_tables import capacity_tables, markdown_table
from tests.performance.figures import aligned
from tests.performance.findings import Findings
from tests.performance.goals import Comparison, figure

HEADS = ("what", "against", "goal", "measured", "")
WIDEST = 60
COST_ORDER = ("server", "parent", "children", "PostgreSQL", "broker", "generator")


def printed(found: Sequence[Findings]) -> str:
    """Rows by section, notes and errors below them, and what it cost."""
    return "\n\n".join([*_rows(found), *_printed_costs(found), *capacity_tables(found)])


def _rows(found: Sequence[Findings]) -> list[str]:
    rows = [row for findings in found for row in findings.rows]
    if not rows and not any(findings.errors for findings in found):
        return []
    head, rule, *lines = aligned(HEADS, [_cells(row) for row in rows], widest=WIDEST)
    told = [head, rule]
    for findings in found:
        for row in findings.rows:
            told += [lines.pop(0), *([f"      {row.note}"] if row.note else [])]
        told += [f"ERROR in {findings.section}: {error}" for error in findings.errors]
    return ["\n".join(told)]


def _printed_costs(found: Sequence[Findings]) -> list[str]:
    heads, rows = costs(found)
    return ["\n".join(["CPU microseconds each:", *aligned(heads, rows)])] if rows else []


def costs(found: Sequence[Findings]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Of each way of each section: how many a second, and CPU microseconds each by part, the generator's last."""
    ways = [
        (findings.section, name, figures)
        for findings in found
        for name, figures in findings.details.items()
        if isinstance(figures, dict) and "cpu_microseconds_each" in figures
    ]
    parts = sorted({part for *_, figures in ways for part in figures["cpu_microseconds_each"]}, key=COST_ORDER.index)
    rows = [
        (section, name, figure(statistics.median(figures["per_second"])),
         *(f"{figures['cpu_microseconds_each'].get(part, 0):,.0f}" for part in parts))
        for section, name, figures in ways
    ]  # fmt: skip
    return ("section", "way", "a second", *parts), rows


def _cells(row: Comparison) -> tuple[str, ...]:
    return (row.what, row.against, str(row.goal), row.measured, row.verdict)


def markdown(found: Sequence[Findings], machine: dict[str, Any]) -> dict[str, str]:
    """Blocks for the documents: `table` and `peers` for docs/performance.md, `capacity` for docs/capacity.md."""
    where = (
        f"Measured {machine['date']} with `{machine['command']}`, rounds: {machine['rounds']} (medians, extremes in "
        f"brackets), on {machine['cores']} cores ({machine['cpu']}), {machine['memory_gib']} GiB, a flush to disk "
        f"of {machine['flush_milliseconds']:g} ms, {machine['system']}; "
        f"{machine['versions']}."
    )
    shown = page.rows(found)
    rows = markdown_table((*HEADS[:4], "reached"), [_markdown_cells(row) for row in shown])
    broken = [f"- {findings.section}: {error.splitlines()[0]}" for findings in found for error in findings.errors]
    errors = ["Errors:\n\n" + "\n".join(broken)] if broken else []
    blocks = {}
    if broken or shown:
        blocks["table"] = "\n\n".join([where, rows, *errors])
    if peers := page.peers(found):
        blocks["peers"] = peers
    if capacity_tables(found):
        blocks["capacity"] = "\n\n".join([where, *capacity_tables(found)])
    return blocks


def _markdown_cells(row: Comparison) -> Sequence[str]:
    verdict = {"reached": "yes", "NOT REACHED": "**no**"}.get(row.verdict, "—")
    return (row.what, row.against, str(row.goal), row.measured, verdict)
