"""Pictures as the numbers of SVG: the templates draw them, without a script.

Each page has the same numbers in a table beside its picture.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

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
    parts: Mapping[str, Sequence[int]], width: int = WIDTH, height: int = HEIGHT, top: float | None = None
) -> list[Bar]:
    """Return the bars of columns that stack these numbers. `top` fills the height; without it the highest does."""
    sums = [sum(numbers) for numbers in zip(*parts.values(), strict=True)]
    highest = top or max(sums, default=0)
    step = width / max(len(sums), 1)
    bars = []
    for at in range(len(sums) if highest else 0):
        reached = float(height)
        for kind, numbers in parts.items():
            if numbers[at]:
                size = height * numbers[at] / highest
                reached -= size
                place = (round(at * step, 2), round(reached, 2))
                bars.append(Bar(kind, *place, round(max(step - 1, 1), 2), round(size, 2)))
    return bars


@dataclass(frozen=True)
class Chart:
    """A chart over time: what is drawn, and what its axes say.

    `bars` and `lines` (a path by its kind) fill `WIDTH` × `HEIGHT`, whose height stands for `top`. `ticks` are
    the times at which the equal parts of the time axis begin. `shown` is what a reader points at.
    """

    bars: Sequence[Bar]
    lines: Mapping[str, str]
    top: float
    ticks: Sequence[datetime]
    shown: Mapping[str, object]


def chart(
    begin: datetime,
    step_seconds: int,
    *,
    stacked: Mapping[str, Sequence[int]] | None = None,
    lines: Mapping[str, Sequence[float | None]] | None = None,
    unit: str = "tasks",
) -> Chart:
    """Return the chart of numbers of each step of time, stacked or as lines. `unit` is tasks, or seconds of lines."""
    stacked, lines = stacked or {}, lines or {}
    sums = [sum(numbers) for numbers in zip(*stacked.values(), strict=True)]
    top = top_of_axis(max(highest_of(*lines.values()), max(sums, default=0)), unit)
    steps = len(next(iter([*stacked.values(), *lines.values()])))
    whole = timedelta(seconds=step_seconds * steps)
    parts = 7 if whole >= timedelta(days=7) else 4
    return Chart(
        columns(stacked, top=top),
        {kind: line(values, top) for kind, values in lines.items()},
        top,
        [begin + whole * at / parts for at in range(parts)],
        {"begin": begin.timestamp(), "step": step_seconds, "unit": unit, "of": {**lines, **stacked}},
    )


# What the top of an axis may be: numbers of tasks times a power of ten, and durations in seconds.
_ROUND = (1, 2, 5, 10)
_ROUND_SECONDS = (60, 120, 300, 600, 1200, 1800, 3600, 7200, 18_000, 36_000, 86_400)


def top_of_axis(highest: float, unit: str = "tasks") -> float:
    """Return the round number at which the axis of these numbers ends, which can be halved: 2 at least of tasks."""
    if unit == "seconds" and highest > _ROUND_SECONDS[0] / 2:
        whole_days = math.ceil(highest / _ROUND_SECONDS[-1]) * _ROUND_SECONDS[-1]
        return float(next((each for each in _ROUND_SECONDS if each >= highest), whole_days))
    if highest <= 0:
        return 2.0 if unit == "tasks" else 1.0
    power = 10.0 ** math.floor(math.log10(highest))
    top = next(each * power for each in _ROUND if each * power >= highest * (1 - 1e-9))
    return max(top, 2.0) if unit == "tasks" else top


def line(values: Sequence[float | None], highest: float, width: int = WIDTH, height: int = HEIGHT) -> str:
    """Return the path of a line through the values, with gaps where there are none. A value alone is a dash."""
    step = width / max(len(values), 1)
    path, is_drawn = [], False
    for at, value in enumerate(values):
        if value is not None and highest:
            x, y = (at + 0.5) * step, height - height * value / highest
            alone = not is_drawn and (at + 1 == len(values) or values[at + 1] is None)
            path.append(f"M{x - 2:.1f} {y:.1f}h4" if alone else f"{'L' if is_drawn else 'M'}{x:.1f} {y:.1f}")
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


def outcomes(
    kinds: Sequence[str], most: int, width: int = SPARK_WIDTH, height: int = SPARK_HEIGHT
) -> Mapping[str, str]:
    """Return the path of each kind: a bar for each of these, `most` at most, that end at the right.

    What was skipped or missed is half as high. By kind, since a page of 50 lists would have 1,500 elements.
    """
    step = width / most
    paths: dict[str, str] = {}
    for at, kind in enumerate(kinds, most - len(kinds)):
        top = height / 2 if kind in {"skipped", "missed"} else 0
        paths[kind] = paths.get(kind, "") + f"M{at * step:.1f} {top:g}h{step - 1:.1f}V{height}h-{step - 1:.1f}z"
    return paths


# How the times of an axis are written that are less than so far apart: no two of them alike.
_CLOCKS = (
    (timedelta(minutes=1), "%H:%M:%S"),
    (timedelta(hours=6), "%H:%M"),
    (timedelta(days=1), "%m-%d %H:%M"),
    (timedelta(days=90), "%m-%d"),
)


def clock_format(step: timedelta) -> str:
    """Return the format of times that are so far apart, a second at least: as short as tells them apart."""
    return next((text for longest, text in _CLOCKS if step < longest), "%Y-%m-%d")


def marks(begin: datetime, spans: Sequence[tuple[str, datetime, datetime]], end: datetime) -> list[Bar]:
    """Return the bars of spans of time (kind, begin, end) between these two; where there is none, nothing is drawn.

    However short a span is, it can be seen. The earlier ones of the sequence lie below the later ones.
    """
    scale = WIDTH / max((end - begin).total_seconds(), 1e-3)
    bars = []
    for kind, since, until in spans:
        size = min(max((until - since).total_seconds() * scale, _SEEN), WIDTH)
        left = min(max((since - begin).total_seconds() * scale, 0), WIDTH - size)
        bars.append(Bar(kind, round(left, 2), 0, round(size, 2), SPARK_HEIGHT))
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
                size = min(size, WIDTH)  # where clocks disagree, a span may end before it begins
                at = min(max((left - begin).total_seconds() * scale, 0), WIDTH - size)
                bars.append(Bar(name, round(at, 2), 0, round(size, 2), SPARK_HEIGHT))
        reached = max(until, reached)
    return bars


# -- A chart of numbers by step of time, with the same numbers as rows of a table --------------------------------------


@dataclass(frozen=True)
class Plot:
    """The chart, the sum of each kind, and the steps in which anything happened: begin and number of each kind."""

    chart: Chart
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
    return Plot(chart(begin, step_seconds, stacked=stacked, lines=lines), totals, rows, step_seconds)
