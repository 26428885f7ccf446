"""The tables of docs/capacity.md, from what the section `capacity` has measured."""

from collections.abc import Sequence
from typing import Any

from tests.performance.findings import Findings
from tests.performance.goals import figure


def capacity_tables(found: Sequence[Findings]) -> list[str]:
    """What the section has found out; nothing where it was not measured."""
    details = next((findings.details for findings in found if findings.section == "capacity"), None)
    if not details:
        return []
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
        "CPU microseconds each:\n\n" + markdown_table(("", *parts, "together"), cpu),
        "PostgreSQL's time for each run of a statement, in microseconds:\n\n"
        + markdown_table(("", "statement", "each", "microseconds"), _statements(details["statements"])),
        "Statements and broker commands each:\n\n"
        + markdown_table(("", "SQL statements", "broker commands", "of them"), counts),
        f"The model, for tasks with {mix['reads']:g} reads, {mix['reports']:g} written reports and bodies of "
        f"{mix['body_seconds']:g} s of CPU; one broker is full at {details['one_broker_tasks_per_second']:,.0f} tasks/s. "
        "What a machine carries:\n\n" + _lines(details["machines"]),
        "What a load needs:\n\n" + _lines(details["loads"]),
    ]


def _statements(found: dict[str, list[dict[str, Any]]]) -> list[Sequence[str]]:
    return [
        (name, f"`{line['statement']}`", figure(line["each"]), figure(line["microseconds"]))
        for name, lines in found.items()
        for line in lines
    ]


def _lines(lines: Sequence[dict[str, Any]]) -> str:
    return markdown_table(tuple(lines[0]), [tuple(map(str, line.values())) for line in lines])


def _commands(counted: dict[str, float]) -> str:
    named = {name.removeprefix("broker "): value for name, value in counted.items() if name.startswith("broker ")}
    named.pop("commands", None)
    return ", ".join(f"{name} {figure(value)}" for name, value in named.items() if value >= 0.05)


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
