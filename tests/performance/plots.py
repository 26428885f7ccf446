"""Pictures of a run, small enough for the documents: endpoints, peers, goals, latencies, growth."""

import math
import statistics
from collections.abc import Callable, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from tests.performance import page
from tests.performance.figures import Row
from tests.performance.findings import Findings
from tests.performance.goals import Comparison, figure as readable

COLOURS = ("#1f5fbf", "#d9622b", "#2f9e62", "#8a56c2", "#5c6470", "#c2a01f", "#1f8fbf")
BINS = 60
LOG_STEPS = 48
DPI = 100


def draw(found: Sequence[Findings], where: Callable[[str], Path]) -> list[Path]:
    """Each picture there is material for; `where` turns its name into its path."""
    pictures = {
        "peers": _peers(found),
        "goals": _goals(found),
        "latency": _grid(found, lambda each: any(each.latencies.values()), _latency),
        "growth": _grid(found, lambda each: bool(each.curves), _growth, 4.6),
    }
    return [_save(figure, where(name)) for name, figure in pictures.items() if figure is not None]


def draw_endpoints(rows: Sequence[Row], path: Path, title: str) -> None:
    """Two panels: how latencies are distributed, and requests per second."""
    figure, (left, right) = _pyplot().subplots(1, 2, figsize=(12, 4.6), width_ratios=(3, 2), layout="constrained")
    for row in rows:
        ordered = [1000 * value for value in sorted(row.measured.latencies)]
        if ordered:
            shares = [100 * (at + 1) / len(ordered) for at in range(len(ordered))]
            left.plot(ordered, shares, label=row.name, linewidth=1.6)
    left.set(xscale="log", ylim=(0, 100.5))
    _clean(left, "Latency", "milliseconds (log)", "% answered within")
    left.legend(fontsize=8, loc="lower right")
    names = [row.name for row in rows][::-1]
    bars = right.barh(names, [row.measured.per_second for row in rows][::-1], color=COLOURS[0])
    right.bar_label(bars, fmt="%.0f", padding=3, fontsize=8)
    _clean(right, "Throughput", "requests per second", "")
    right.margins(x=0.12)
    figure.suptitle(title, fontsize=11)
    _save(figure, path)


def _pyplot() -> Any:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def _save(figure: Any, path: Path) -> Path:
    figure.savefig(path, dpi=DPI)
    _pyplot().close(figure)
    return path


def _clean(axes: Any, title: str, x: str, y: str) -> None:
    axes.set_title(title, fontsize=10, loc="left")
    axes.set_xlabel(x, fontsize=8)
    axes.set_ylabel(y, fontsize=8)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.25, linewidth=0.5)
    axes.spines[["top", "right"]].set_visible(False)


def _plain_ticks(axis: Any) -> None:
    """1, 2, 5, 10 … as they are written."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def _grid(
    found: Sequence[Findings],
    has_material: Callable[[Findings], bool],
    draw_one: Callable[[Any, Findings], None],
    height: float = 2.7,
) -> Any:
    """A panel for each section that has material; None where none has."""
    shown = list(filter(has_material, found))
    if not shown:
        return None
    columns = min(2, len(shown))
    rows = math.ceil(len(shown) / columns)
    size = (5.2 * columns if columns > 1 else 7, height * rows)
    figure, grid = _pyplot().subplots(rows, columns, figsize=size, layout="constrained", squeeze=False)
    for axes, findings in zip_longest(grid.flat, shown):
        if findings is None:
            axes.set_visible(False)
        else:
            draw_one(axes, findings)
    return figure


# -- peers: how many tasks a second, what one costs, how soon it starts --------------------------------------------------


def _peers(found: Sequence[Findings]) -> Any:
    rows = [row for findings in found for row in findings.details.get("peers", [])][::-1]
    if not rows:
        return None
    panels: list[tuple[str, str, Callable[[dict[str, Any]], float]]] = [
        ("No-op tasks drained, two slots", "a second (logarithmic)", lambda row: statistics.median(row["per_second"])),
        ("CPU of a task, all parts", "microseconds (logarithmic)", lambda row: row["cpu_microseconds"]),
        ("From the call to the body, p50", "milliseconds (logarithmic)", lambda row: row["start_milliseconds"]["p50"]),
    ]
    size = (12, 1.2 + 0.32 * len(rows))
    figure, grid = _pyplot().subplots(1, len(panels), figsize=size, layout="constrained", sharey=True)
    for axes, (title, unit, value) in zip(grid, panels, strict=True):
        colours = [COLOURS[0] if row is rows[-1] else COLOURS[4] for row in rows]
        bars = axes.barh([row["name"] for row in rows], [value(row) for row in rows], color=colours)
        axes.bar_label(bars, [readable(value(row)) for row in rows], padding=3, fontsize=8)
        axes.set_xscale("log")
        _clean(axes, title, unit, "")
        axes.margins(x=0.25)
    return figure


# -- goals: one scale for all rows ---------------------------------------------------------------------------------------


def attained(row: Comparison, value: float) -> float:
    """How much of the goal a value is: 1 is the goal itself, more is better, whichever way the goal looks."""
    least, most = row.goal.at_least, row.goal.at_most
    if least is not None:
        return value / least if least else 1.0
    if most is None:
        return 1.0
    return most / value if value > 0 else (1.0 if most == 0 else math.inf)


def _label(row: Comparison) -> str:
    return row.what if row.against == "—" else f"{row.what}\nagainst {row.against}"


def _goals(found: Sequence[Findings]) -> Any:
    rows = [row for row in page.rows(found) if row.values and row.goal != type(row.goal)()]
    if not rows:
        return None
    figure, axes = _pyplot().subplots(figsize=(10.4, 0.8 + 0.36 * len(rows)), layout="constrained")
    for place, row in enumerate(reversed(rows)):
        # That of the median, not the median of the shares: between two rounds these differ.
        *points, middle = (min(16.0, max(1 / 32, attained(row, each))) for each in (*row.values, row.median))
        colour = COLOURS[2] if row.reached else COLOURS[1]
        axes.plot([min(points), max(points)], [place, place], color=colour, linewidth=5, alpha=0.3)
        axes.plot(middle, place, "o", color=colour, markersize=6)
        told = f"{row.measured}, goal {row.goal}"
        axes.annotate(told, (1.01, place), xycoords=("axes fraction", "data"), fontsize=7, va="center")
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xscale("log", base=2)
    axes.set_yticks(range(len(rows)), [_label(row) for row in reversed(rows)], fontsize=7)
    axes.set_xlim(1 / 32, 16)
    ticks = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8, 16)
    axes.set_xticks(ticks, [f"{tick:g}" if tick >= 1 else f"1/{1 / tick:g}" for tick in ticks])
    _clean(axes, "Of the goal (right of the line: reached)", "share of the goal, logarithmic", "")
    axes.tick_params(axis="y", labelsize=7)
    return figure


# -- latencies -----------------------------------------------------------------------------------------------------------


def histogram(latencies: Sequence[float], low: float, high: float) -> tuple[list[float], list[float]]:
    """Edges in milliseconds, spaced evenly on a logarithmic scale, and the percentage of values in each step."""
    span = math.log(high / low) or 1.0
    counts = [0] * LOG_STEPS
    for value in latencies:
        at = int(LOG_STEPS * math.log(max(value, low) / low) / span)
        counts[min(LOG_STEPS - 1, at)] += 1
    edges = [1000 * low * math.exp(span * step / LOG_STEPS) for step in range(LOG_STEPS + 1)]
    return edges, [100 * count / len(latencies) for count in counts]


def _latency(axes: Any, findings: Findings) -> None:
    named = {name: [max(value, 1e-6) for value in values] for name, values in findings.latencies.items() if values}
    low, high = min(map(min, named.values())), max(map(max, named.values())) * 1.001
    for colour, (name, values) in zip(COLOURS, named.items(), strict=False):
        edges, shares = histogram(values, low, high)
        axes.stairs(shares, edges, color=colour, linewidth=1.3, label=name)
        axes.stairs(shares, edges, color=colour, fill=True, alpha=0.12)
    axes.set_xscale("log")
    _plain_ticks(axes.xaxis)
    _clean(axes, findings.section, "milliseconds (logarithmic)", "% of all")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=7, frameon=False)


# -- curves --------------------------------------------------------------------------------------------------------------


def _growth(axes: Any, findings: Findings) -> None:
    for at, (name, curve) in enumerate(findings.curves.items()):
        style = {"color": COLOURS[at % len(COLOURS)], "linestyle": ("-", "--", ":")[at // len(COLOURS) % 3]}
        axes.plot(*zip(*curve, strict=True), **style, marker=".", label=name)
    _clean(axes, findings.section, *findings.axes)
    if findings.section == "growth":
        axes.set(xscale="log", yscale="log")
        _plain_ticks(axes.yaxis)
    else:
        axes.set_ylim(bottom=0)
    # Beside the curves: there are as many of them as lines of text that fit.
    axes.legend(fontsize=6, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
