"""From latencies to figures, and tables as text."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
    lines = aligned(HEADS, [_cells(row.as_json()) for row in rows], str.rjust)
    errors = [f"{row.name}: {dict(row.measured.errors)}" for row in rows if row.measured.errors]
    return "\n".join([*lines, *(["", "errors:", *errors] if errors else [])])


def aligned(
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    justify: Callable[[str, int], str] = str.ljust,
    widest: int = 120,
) -> list[str]:
    """The lines of a table whose columns are as wide as their widest cell; the second line is a rule."""
    lines = (heads, *rows)
    widths = [min(widest, max(map(len, column))) for column in zip(*lines, strict=True)]
    justified = [
        [cell.ljust(width) if at == 0 else justify(cell, width) for at, (cell, width) in enumerate(zip(line, widths, strict=True))]
        for line in lines
    ]  # fmt: skip
    first, *others = ["  ".join(line).rstrip() for line in justified]
    return [first, "─" * (sum(widths) + 2 * len(widths)), *others]


def _cells(figures: dict[str, Any]) -> tuple[str, ...]:
    times = (f"{figures['milliseconds'][key]:.1f}" for key in ("p50", "p90", "p99", "max"))
    counted = (str(figures["requests"]), f"{figures['per_second']:.0f}")
    return (figures["name"], *counted, *times, f"{figures['ratio']:.2f}", str(sum(figures["errors"].values())))
