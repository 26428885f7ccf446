"""Draws numbers as SVG: the charts of pages and reports, and the pictures of models. Callers give numbers and colours.

No script, and every text is escaped. What is drawn has a `kind`: the class by which a style sheet gives its colour. A
picture says in words what it shows; a page has the same numbers in a table beside its picture.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from html import escape

WIDTH, HEIGHT = 600, 120
SPARK_WIDTH, SPARK_HEIGHT = 96, 20
# XML 1.0 has no place for other characters, not even escaped.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class Bar:
    """A rectangle; `kind` names its colour. A pointer on it shows the title."""

    kind: str
    x: float
    y: float
    width: float
    height: float
    title: str = ""
    opacity: float = 1


# -- Texts, the elements of a picture, and the page of a report --------------------------------------------------------


def escaped(value: object) -> str:
    """Return the text for XML and HTML; a character that XML has not becomes U+FFFD."""
    return escape(_NOT_XML.sub("\ufffd", str(value)))


def shortened(text: str, most: int) -> str:
    """Return the text in at most so many characters, the last of which is … where it is cut."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def label(
    x: float, y: float, text: str, *, anchor: str = "start", most: int = 80, turn: int = 0, extra: str = ""
) -> str:
    """Return a text of a picture, turned by so many degrees; a pointer on it shows the whole where it is shortened."""
    shown = shortened(text, most)
    title = f"<title>{escaped(text)}</title>" if shown != text else ""
    place = f'transform="translate({x:g} {y:g}) rotate({turn})"' if turn else f'x="{x:g}" y="{y:g}"'
    return f'<text {place} text-anchor="{anchor}"{extra}>{title}{escaped(shown)}</text>'


def rects(bars: Iterable[Bar]) -> str:
    """Return the elements of the bars."""
    return "".join(
        f'<rect class="{escaped(bar.kind)}" x="{bar.x:g}" y="{bar.y:g}" width="{bar.width:g}" '
        f'height="{bar.height:g}"'
        + (f' fill-opacity="{bar.opacity:.3g}"' if bar.opacity != 1 else "")
        + (f"><title>{escaped(bar.title)}</title></rect>" if bar.title else "/>")
        for bar in bars
    )


def svg(width: float, height: float, title: str, content: str, attributes: str = "") -> str:
    """Return a picture that stands alone or in a page. `title` is what a screen reader says; "" of several pictures."""
    named = f' role="img"><title>{escaped(title)}</title>' if title else ">"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg"{attributes} viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" height="{height:.0f}"{named}{content}</svg>\n'
    )


def report(title: str, style: str, body: str) -> str:
    """Return a page of its own, which runs no script and asks for nothing: its pictures stand in it."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        """<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">"""
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escaped(title)}</title><style>{style}</style></head><body>{body}</body></html>\n"
    )


# -- Axes --------------------------------------------------------------------------------------------------------------

# What the top of an axis of durations may be, in seconds.
_ROUND_SECONDS = (60, 120, 300, 600, 1200, 1800, 3600, 7200, 18_000, 36_000, 86_400)
# How the times of an axis are written that are less than so far apart: no two of them alike.
_CLOCKS = (
    (timedelta(minutes=1), "%H:%M:%S"),
    (timedelta(hours=6), "%H:%M"),
    (timedelta(days=1), "%m-%d %H:%M"),
    (timedelta(days=90), "%m-%d"),
)


def rounded_up(number: float) -> float:
    """Return the next number that is 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(number))
    return next(each * power for each in (1, 2, 5, 10) if each * power >= number * (1 - 1e-9))


def round_ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Return about so many round numbers between these two, equally far apart."""
    step = rounded_up((high - low) / about)
    return [number * step for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


def top_of_axis(highest: float, unit: str = "tasks") -> float:
    """Return the round number at which the axis of these numbers ends, which can be halved: 2 at least of tasks."""
    if unit == "seconds" and highest > _ROUND_SECONDS[0] / 2:
        whole_days = math.ceil(highest / _ROUND_SECONDS[-1]) * _ROUND_SECONDS[-1]
        return float(next((each for each in _ROUND_SECONDS if each >= highest), whole_days))
    top = rounded_up(highest) if highest > 0 else 1.0
    return max(top, 2.0) if unit == "tasks" else top


def clock_format(step: timedelta) -> str:
    """Return the format of times that are so far apart, a second at least: as short as tells them apart."""
    return next((text for longest, text in _CLOCKS if step < longest), "%Y-%m-%d")


# -- Numbers as bars and lines -----------------------------------------------------------------------------------------


def columns(
    parts: Mapping[str, Sequence[int]],
    width: float = WIDTH,
    height: float = HEIGHT,
    top: float | None = None,
    *,
    least: float = 0,
    titles: Sequence[str] = (),
) -> list[Bar]:
    """Return the bars of columns that stack these numbers. `top` fills the height; without it the highest does.

    A number that is not 0 is drawn as high as `least`. `titles` are those of the columns.
    """
    sums = [sum(numbers) for numbers in zip(*parts.values(), strict=True)]
    highest = top or max(sums, default=0)
    step = width / max(len(sums), 1)
    bars = []
    for at in range(len(sums) if highest else 0):
        reached = float(height)
        for kind, numbers in parts.items():
            if numbers[at]:
                size = max(height * numbers[at] / highest, least)
                reached -= size
                x, y, wide, high = (round(each, 2) for each in (at * step, reached, max(step - 1, step / 3), size))
                bars.append(Bar(kind, x, y, wide, high, titles[at] if titles else ""))
    return bars


def row(parts: Mapping[str, int], highest: int, width: int = SPARK_WIDTH, height: int = SPARK_HEIGHT) -> list[Bar]:
    """Return the bars of numbers side by side; `highest` is what fills the width."""
    bars, left = [], 0.0
    for kind, number in parts.items():
        size = width * number / max(highest, 1)
        if size:
            bars.append(Bar(kind, round(left, 2), 0, round(size, 2), height))
        left += size
    return bars


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


# -- Times -------------------------------------------------------------------------------------------------------------

Span = tuple[str, datetime, datetime]
WAITED = "waited"


def marks(begin: datetime, spans: Sequence[Span], end: datetime, top: int = 0, height: int = SPARK_HEIGHT) -> list[Bar]:
    """Return the bars of spans of time (kind, begin, end) between these two; where there is none, nothing is drawn.

    However short a span is, it can be seen, unless it is a wait. The earlier ones lie below the later ones.
    """
    scale = WIDTH / max((end - begin).total_seconds(), 1e-3)
    bars = []
    for kind, since, until in spans:
        # Where clocks disagree, a span may end before it begins.
        size = min(max((until - since).total_seconds() * scale, 0 if kind == WAITED else 2), WIDTH)
        left = min(max((since - begin).total_seconds() * scale, 0), WIDTH - size)
        if size:
            bars.append(Bar(kind, round(left, 2), top, round(size, 2), height))
    return bars


def timeline(begin: datetime, spans: Sequence[Span], end: datetime) -> list[Bar]:
    """Return the bars of spans of time (kind, begin, end), and of the waits before, between and behind them."""
    with_waits, reached = list[Span](), begin
    for kind, since, until in spans:
        with_waits += [(WAITED, reached, since), (kind, since, until)]
        reached = max(until, reached)
    return marks(begin, [*with_waits, (WAITED, reached, end)], end)


@dataclass(frozen=True)
class Chart:
    """The numbers `of` each kind, by step of time, as they are drawn and as the axes say.

    `bars` and `lines` (a path by its kind) fill `WIDTH` × `HEIGHT`, whose height stands for `top`. `ticks` are the
    times at which the equal parts of the time axis begin. `unit` is tasks, or seconds.
    """

    begin: datetime
    step: timedelta
    unit: str
    of: Mapping[str, Sequence[float | None]]
    bars: Sequence[Bar]
    lines: Mapping[str, str]
    top: float
    ticks: Sequence[datetime]

    @property
    def shown(self) -> dict[str, object]:
        """Return what a reader points at, for `charts.js`."""
        return {
            "begin": self.begin.timestamp(),
            "step": int(self.step.total_seconds()),
            "unit": self.unit,
            "of": self.of,
        }

    @property
    def totals(self) -> dict[str, float]:
        return {kind: sum(filter(None, numbers)) for kind, numbers in self.of.items()}

    @property
    def rows(self) -> list[tuple[datetime, Sequence[float | None]]]:
        """The table beside the chart: the steps in which anything happened, each with the number of each kind."""
        rows = enumerate(zip(*self.of.values(), strict=True))
        return [(self.begin + at * self.step, numbers) for at, numbers in rows if any(numbers)]


def chart(
    begin: datetime,
    step_seconds: int,
    *,
    stacked: Mapping[str, Sequence[int]] | None = None,
    lines: Mapping[str, Sequence[float | None]] | None = None,
    unit: str = "tasks",
) -> Chart:
    """Return the chart of numbers of each step of time, stacked or as lines."""
    stacked, lines = stacked or {}, lines or {}
    of = {**lines, **stacked}
    sums = [sum(numbers) for numbers in zip(*stacked.values(), strict=True)]
    highest = max([0, *sums, *(value for values in lines.values() for value in values if value is not None)])
    top = top_of_axis(highest, unit)
    step = timedelta(seconds=step_seconds)
    whole = step * len(next(iter(of.values())))
    parts = 7 if whole >= timedelta(days=7) else 4
    ticks = [begin + whole * at / parts for at in range(parts)]
    drawn = {kind: line(values, top) for kind, values in lines.items()}
    return Chart(begin, step, unit, of, columns(stacked, top=top), drawn, top, ticks)
