"""From latencies to figures, a printed table and a picture."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.performance.load import Measured

PERCENTILES = {"p50": 0.50, "p90": 0.90, "p95": 0.95, "p99": 0.99, "max": 1.0}
HEADS = ("endpoint", "requests", "req/s", "p50 ms", "p90 ms", "p99 ms", "max ms", "vs /healthz", "errors")


def percentile(ordered: Sequence[float], share: float) -> float:
    """The nearest-rank percentile of sorted values; 0 of none."""
    if not ordered:
        return 0.0
    return ordered[max(1, math.ceil(share * len(ordered))) - 1]


@dataclass(frozen=True)
class Row:
    """One endpoint; `baseline` is what /healthz did in the same minutes."""

    name: str
    measured: Measured
    baseline: Measured

    @property
    def ratio(self) -> float:
        """Its requests per second as a share of those of a bare /healthz, measured turn by turn with it."""
        return self.measured.per_second / self.baseline.per_second if self.baseline.per_second else 0.0

    def as_json(self) -> dict[str, Any]:
        ordered = sorted(self.measured.latencies)
        return {
            "name": self.name,
            "requests": len(ordered),
            "seconds": self.measured.seconds,
            "per_second": self.measured.per_second,
            "milliseconds": {name: 1000 * percentile(ordered, share) for name, share in PERCENTILES.items()},
            "ratio": self.ratio,
            "errors": dict(self.measured.errors),
        }


def table(rows: Sequence[Row]) -> str:
    """The figures as text, errors included."""
    cells = [HEADS, *(_cells(row.as_json()) for row in rows)]
    widths = [max(len(line[at]) for line in cells) for at in range(len(HEADS))]
    lines = [
        "  ".join(cell.ljust(width) if at == 0 else cell.rjust(width) for at, (cell, width) in enumerate(zip(line, widths, strict=True)))
        for line in cells
    ]  # fmt: skip
    errors = [f"{row.name}: {dict(row.measured.errors)}" for row in rows if row.measured.errors]
    return "\n".join([lines[0], "─" * len(lines[0]), *lines[1:], *(["", "errors:", *errors] if errors else [])])


def _cells(figures: dict[str, Any]) -> tuple[str, ...]:
    times = (f"{figures['milliseconds'][key]:.1f}" for key in ("p50", "p90", "p99", "max"))
    counted = (str(figures["requests"]), f"{figures['per_second']:.0f}")
    return (figures["name"], *counted, *times, f"{figures['ratio']:.2f}", str(sum(figures["errors"].values())))


def plot(rows: Sequence[Row], path: Path, title: str) -> None:
    """Two panels: how latencies are distributed, and requests per second."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.6), width_ratios=(3, 2), layout="constrained")
    for row in rows:
        ordered = [1000 * value for value in sorted(row.measured.latencies)]
        if ordered:
            left.plot(
                ordered, [(at + 1) / len(ordered) * 100 for at in range(len(ordered))], label=row.name, linewidth=1.6
            )
    left.set(xscale="log", xlabel="milliseconds (log)", ylabel="% answered within", ylim=(0, 100.5), title="Latency")
    left.grid(alpha=0.25, which="both", linewidth=0.5)
    left.legend(fontsize=8, loc="lower right")
    names = [row.name for row in rows][::-1]
    bars = right.barh(names, [row.measured.per_second for row in rows][::-1], color="#3d6fd9")
    right.bar_label(bars, fmt="%.0f", padding=3, fontsize=8)
    right.set(xlabel="requests per second", title="Throughput")
    right.margins(x=0.12)
    right.spines[["top", "right"]].set_visible(False)
    left.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title, fontsize=11)
    figure.savefig(path, dpi=130)
    plt.close(figure)
