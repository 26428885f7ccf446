"""The table of all sections: printed, and as Markdown ready for the documents."""

import statistics
from collections.abc import Sequence
from typing import Any

from tests.performance.findings import Findings
from tests.performance.goals import Comparison, figure

HEADS = ("what", "against", "goal", "measured", "")
WIDEST = 60
COST_ORDER = ("server", "parent", "children", "PostgreSQL", "broker", "generator")


def printed(found: Sequence[Findings]) -> str:
    """Rows by section, notes and errors below them."""
    rows = [row for findings in found for row in findings.rows]
    if not rows and not any(findings.errors for findings in found):
        return ""
    widths = [
        min(WIDEST, max([len(HEADS[at]), *(len(cells[at]) for cells in map(_cells, rows))])) for at in range(len(HEADS))
    ]
    lines = [_line(HEADS, widths), "─" * (sum(widths) + 2 * len(widths))]
    for findings in found:
        for row in findings.rows:
            lines.append(_line(_cells(row), widths))
            lines += [f"      {told}" for told in (row.skipped, row.note) if told]
        lines += [f"ERROR in {findings.section}: {error}" for error in findings.errors]
    return "\n".join([*lines, *_printed_costs(found)])


def _printed_costs(found: Sequence[Findings]) -> list[str]:
    heads, rows = costs(found)
    if not rows:
        return []
    widths = [max(len(line[at]) for line in (heads, *rows)) for at in range(len(heads))]
    return ["", "CPU microseconds each:", *(_line(line, widths) for line in (heads, *rows))]


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


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def _cells(row: Comparison) -> tuple[str, ...]:
    return (row.what, row.against, str(row.goal), *(("", "") if row.skipped else (row.measured, row.verdict)))


def markdown(found: Sequence[Findings], machine: dict[str, Any]) -> dict[str, str]:
    """Blocks for the documents: `table` for docs/performance.md, `capacity` for docs/capacity.md."""
    where = (
        f"Measured {machine['date']} with `{machine['command']}`, rounds: {machine['rounds']} (medians, extremes in "
        f"brackets), on {machine['cores']} cores ({machine['cpu']}), {machine['memory_gib']} GiB, {machine['system']}; "
        f"{machine['versions']}."
    )
    rows = _table(
        (*HEADS[:4], "reached", "note"), [_markdown_cells(row) for findings in found for row in findings.rows]
    )
    spent = costs(found)
    cpu = (
        ["CPU microseconds each, by process; the generator is what makes the load:", _table(*spent)] if spent[1] else []
    )
    errors = [f"- {findings.section}: {error.splitlines()[0]}" for findings in found for error in findings.errors]
    blocks = {"table": "\n\n".join([where, rows, *cpu, *(["Errors:\n\n" + "\n".join(errors)] if errors else [])])}
    details = next((findings.details for findings in found if findings.section == "capacity"), None)
    if details:
        blocks["capacity"] = "\n\n".join([where, *_capacity(details)])
    return blocks


def _markdown_cells(row: Comparison) -> Sequence[str]:
    verdict = {"reached": "yes", "NOT REACHED": "**no**"}.get(row.verdict, "—")
    return (row.what, row.against, str(row.goal), row.measured, verdict, row.note)


def _capacity(details: dict[str, Any]) -> list[str]:
    parts = list(dict.fromkeys(part for cpu in details["cpu_microseconds"].values() for part in cpu))
    cpu = [
        (name, *(f"{figures.get(part, 0):,.0f}" for part in parts), f"{sum(figures.values()):,.0f}")
        for name, figures in details["cpu_microseconds"].items()
    ]
    counts = [
        (name, figure(counted.get("SQL statements", 0)), figure(counted.get("broker commands", 0)), _commands(counted))
        for name, counted in details["counts"].items()
    ]
    mix = details["mix"]
    return [
        "CPU microseconds each:\n\n" + _table(("", *parts, "together"), cpu),
        "Statements and broker commands each:\n\n"
        + _table(("", "SQL statements", "broker commands", "of them"), counts),
        f"The model, for tasks with {mix['reads']:g} reads, {mix['reports']:g} written reports and bodies of "
        f"{mix['body_seconds']:g} s of CPU; one broker is full at {details['one_broker_tasks_per_second']:,.0f} tasks/s. "
        "What a machine carries:\n\n" + _lines(details["machines"]),
        "What a load needs:\n\n" + _lines(details["loads"]),
    ]


def _lines(lines: Sequence[dict[str, Any]]) -> str:
    return _table(tuple(lines[0]), [tuple(map(str, line.values())) for line in lines])


def _commands(counted: dict[str, float]) -> str:
    named = {name.removeprefix("broker "): value for name, value in counted.items() if name.startswith("broker ")}
    named.pop("commands", None)
    return ", ".join(f"{name} {figure(value)}" for name, value in named.items() if value >= 0.05)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
