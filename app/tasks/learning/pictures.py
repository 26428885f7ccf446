"""The picture of a model's predictions: a confusion matrix, or predicted against actual numbers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from app.tasks.learning.measures import Predicted
from app.tasks.learning.svg import compact, number, picture, text, ticks
from app.tasks.learning.target import Target

MARGIN = 150.0  # for the names of classes
SIDE = 480.0
MAX_POINTS = 1000  # drawn one by one; more are counted in squares
SQUARES = 60


def draw(target: Target, truth: Any, predicted: Predicted) -> tuple[str, str]:
    """Return the name of the picture's file, and the picture as SVG."""
    if target.kind == "regression":
        return "residuals.svg", predicted_against_actual(truth, predicted.values)
    classes = len(target.classes)
    counts = np.bincount(truth * classes + predicted.values, minlength=classes**2).reshape(classes, classes)
    return "confusion.svg", confusion_matrix(target.class_names(), counts)


def save(directory: Path, name: str, content: str) -> None:
    (directory / name).write_text(content, encoding="utf-8")


def confusion_matrix(names: Sequence[str], counts: Any) -> str:
    """Return the matrix of counts, true classes in rows: a cell is as dark as its share of the row's sum."""
    cell = max(22.0, min(64.0, SIDE / len(names)))
    side = cell * len(names)
    parts = [
        text(MARGIN + side / 2, 18, "predicted class", name="dim"),
        text(0, 0, "true class", name="dim", extra=f' transform="translate(14 {MARGIN + side / 2:.1f}) rotate(-90)"'),
    ]
    for index, name in enumerate(names):
        middle = MARGIN + cell * (index + 0.5)
        parts.append(text(MARGIN - 8, middle + 4, name, anchor="end"))
        turned = f' transform="translate({middle + 4:.1f} {MARGIN - 8:.1f}) rotate(-60)"'
        parts.append(text(0, 0, name, anchor="start", extra=turned))
    for (row, column), count in np.ndenumerate(counts):
        parts += _cell(MARGIN + cell * column, MARGIN + cell * row, cell, int(count), int(counts[row].sum()))
    label = f"Confusion matrix of {len(names)} classes: rows are the true classes, columns the predicted ones"
    return picture(MARGIN + side + 75, MARGIN + side + 12, label, parts)


def _cell(x: float, y: float, size: float, count: int, total: int) -> list[str]:
    share = count / total if total else 0.0
    shade = f'<rect class="mark line" x="{x:.1f}" y="{y:.1f}" width="{size:.1f}" height="{size:.1f}"'
    shown = text(
        x + size / 2,
        y + size / 2 + 4,
        compact(count),
        name="on" if share > 0.55 else "" if count else "dim",  # noqa: PLR2004 - about where ink and paper read alike
        extra=f' font-size="{min(14.0, size / 2.6):.1f}"',
    )
    return [f'{shade} fill-opacity="{share:.3f}"><title>{count} of {total}</title></rect>', shown]


def predicted_against_actual(truth: Any, values: Any) -> str:
    """Return a picture with a point for each row, or a square for the rows near to each other; the line is no error."""
    low, high = _bounds(truth, values)
    left, top = 80.0, 20.0

    def at(x: Any, y: Any) -> tuple[Any, Any]:
        return left + SIDE * (x - low) / (high - low), top + SIDE * (high - y) / (high - low)

    parts = _axes(low, high, left, top)
    if len(truth) <= MAX_POINTS:
        xs, ys = at(truth, values)
        points = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in zip(xs, ys, strict=True))
        parts.append(f'<g class="mark" fill-opacity="0.55">{points}</g>')
    else:
        parts.append(f'<g class="mark">{_squares(truth, values, low, high, left, top)}</g>')
    label = f"Predicted against actual values of {len(truth)} rows; a point on the line is a prediction without error"
    return picture(left + SIDE + 30, top + SIDE + 50, label, parts)


def _bounds(truth: Any, values: Any) -> tuple[float, float]:
    low, high = float(min(truth.min(), values.min())), float(max(truth.max(), values.max()))
    margin = (high - low) * 0.03 or max(abs(high), 1.0) * 0.1
    return low - margin, high + margin


def _axes(low: float, high: float, left: float, top: float) -> list[str]:
    bottom = top + SIDE
    lines = []
    for tick in ticks(low, high):
        offset = SIDE * (tick - low) / (high - low)
        x, y = left + offset, bottom - offset
        lines += [
            f'<path class="line" d="M{x:.1f} {top:.1f}V{bottom:.1f}M{left:.1f} {y:.1f}H{left + SIDE:.1f}"/>',
            text(x, bottom + 18, number(tick), name="dim"),
            text(left - 8, y + 4, number(tick), anchor="end", name="dim"),
        ]
    return [
        *lines,
        f'<path stroke="var(--ink)" stroke-dasharray="5 4" d="M{left:.1f} {bottom:.1f}L{left + SIDE:.1f} {top:.1f}"/>',
        text(left + SIDE / 2, bottom + 40, "actual", name="dim"),
        text(0, 0, "predicted", name="dim", extra=f' transform="translate(14 {top + SIDE / 2:.1f}) rotate(-90)"'),
    ]


def _squares(truth: Any, values: Any, low: float, high: float, left: float, top: float) -> str:
    counts, _, _ = np.histogram2d(truth, values, bins=SQUARES, range=[[low, high], [low, high]])
    size, most = SIDE / SQUARES, np.log1p(counts.max())
    return "".join(
        f'<rect x="{left + size * column:.1f}" y="{top + SIDE - size * (row + 1):.1f}" width="{size:.1f}" '
        f'height="{size:.1f}" fill-opacity="{0.15 + 0.85 * np.log1p(counts[column, row]) / most:.2f}">'
        f"<title>{int(counts[column, row])} rows</title></rect>"
        for column, row in np.argwhere(counts)
    )
