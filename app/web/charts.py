"""Pictures as the numbers of SVG: the templates draw them, without a script, and show the numbers in a table beside."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

WIDTH, HEIGHT = 600, 120
SPARK_WIDTH, SPARK_HEIGHT = 96, 20
_SEEN = 2


@dataclass(frozen=True)
class Bar:
    """One part of a column; `kind` names its colour."""

    kind: str
    x: float
    y: float
    width: float
    height: float


def columns(
    parts: Mapping[str, Sequence[int]], width: int = WIDTH, height: int = HEIGHT, beside: Sequence[int] = ()
) -> tuple[list[Bar], int]:
    """Return the bars of columns that stack these numbers, and the highest number, of these `beside` them too."""
    sums = [sum(numbers) for numbers in zip(*parts.values(), strict=True)]
    highest = max([*sums, *beside], default=0)
    step = width / max(len(sums), 1)
    bars = []
    for at in range(len(sums) if highest else 0):
        top = float(height)
        for kind, numbers in parts.items():
            if numbers[at]:
                size = height * numbers[at] / highest
                top -= size
                bars.append(Bar(kind, round(at * step, 2), round(top, 2), round(max(step - 1, 1), 2), round(size, 2)))
    return bars, highest


def line(values: Sequence[float | None], highest: float, width: int = WIDTH, height: int = HEIGHT) -> str:
    """Return the path of a line through the values, with gaps where there are none. A value alone is a dot."""
    step = width / max(len(values), 1)
    path, is_drawn = [], False
    for at, value in enumerate(values):
        if value is not None and highest:
            x, y = (at + 0.5) * step, height - height * value / highest
            path.append(f"{'L' if is_drawn else 'M'}{x:.1f} {y:.1f}" + ("" if is_drawn else "h.1"))
        is_drawn = value is not None
    return "".join(path)


def highest_of(*lines: Sequence[float | None]) -> float:
    """Return the largest value of these lines, 0 without any."""
    return max((value for values in lines for value in values if value is not None), default=0)


def row(parts: Mapping[str, int], highest: int, width: int = SPARK_WIDTH, height: int = SPARK_HEIGHT) -> list[Bar]:
    """Return the bars of numbers side by side; `highest` is what fills the width."""
    bars, left = [], 0.0
    for kind, number in parts.items():
        size = width * number / max(highest, 1)
        bars.append(Bar(kind, round(left, 2), 0, round(size, 2), height))
        left += size
    return bars


def timeline(begin: datetime, spans: Sequence[tuple[str, datetime, datetime]], end: datetime) -> list[Bar]:
    """Return the bars of spans of time (kind, begin, end), and of the waits before, between and behind them.

    However short a span is, it can be seen.
    """
    scale = WIDTH / max((end - begin).total_seconds(), 1e-3)
    bars, reached = [], begin
    for kind, since, until in [*spans, ("", end, end)]:
        for name, left, right in (("waited", reached, since), (kind, since, until)):
            size = max((right - left).total_seconds() * scale, _SEEN if name == kind and kind else 0)
            if size:
                at = min((left - begin).total_seconds() * scale, WIDTH - size)
                bars.append(Bar(name, round(at, 2), 0, round(size, 2), SPARK_HEIGHT))
        reached = max(until, reached)
    return bars
