"""The artifacts about a model: the picture of its predictions and the page `report.html`.

They are written whole or not at all. The pictures are self-contained SVG, readable on light and on dark ground, every
text escaped.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from app.core.drawing import Bar, escaped, label, rects, report, round_ticks, svg
from app.tasks.learning.measures import SCORE, Predicted
from app.tasks.learning.model_file import Card
from app.tasks.learning.target import Target

# Of a picture that stands alone and of one inside a page.
PICTURE_STYLE = (
    "svg{--ink:#1f2328;--dim:#59636e;--paper:#fff;--mark:#0969da;--line:#d1d9e0;font:12px system-ui,sans-serif}"
    "@media(prefers-color-scheme:dark){svg{--ink:#e6edf3;--dim:#9198a1;--paper:#0d1117;--mark:#4493f8;--line:#3d444d}}"
    "svg text{fill:var(--ink)}svg .dim{fill:var(--dim)}svg .mark{fill:var(--mark)}svg .line{stroke:var(--line)}"
    "svg .paper{fill:var(--paper)}svg .on{fill:var(--paper)}"
)
PAPER = f'<style>{PICTURE_STYLE}</style><rect class="paper" width="100%" height="100%"/>'
DIM = ' class="dim"'


def compact(count: int) -> str:
    """Return a count in at most four characters: 999, 1.2k, 12k, 3M."""
    for unit, size in (("M", 1_000_000), ("k", 1000)):
        if count >= size:
            return f"{count / size:.1f}{unit}" if count < 10 * size else f"{count // size}{unit}"
    return str(count)


def number(value: float) -> str:
    return f"{value:.10g}" if abs(value) < 1e9 else f"{value:.3g}"  # noqa: PLR2004 - what fits beside an axis


# -- The picture of a model's predictions: a confusion matrix, or predicted against actual numbers ---------------------

MARGIN = 150.0  # for the names of classes
SIDE = 480.0
NAME_CHARACTERS = 18
MAX_POINTS = 1000  # drawn one by one; more are counted in squares
SQUARES = 60


def draw_predictions(target: Target, truth: Any, predicted: Predicted) -> tuple[str, str]:
    """Return the name of the picture's file, and the picture as SVG."""
    if target.kind == "regression":
        return "residuals.svg", predicted_against_actual(truth, predicted.values)
    classes = len(target.classes)
    counts = np.bincount(truth * classes + predicted.values, minlength=classes**2).reshape(classes, classes)
    return "confusion.svg", confusion_matrix(target.class_names(), counts)


def confusion_matrix(names: Sequence[str], counts: Any) -> str:
    """Return the matrix of counts, true classes in rows: a cell is as dark as its share of the row's sum."""
    size = max(22.0, min(64.0, SIDE / len(names)))
    side = size * len(names)
    parts = [
        label(MARGIN + side / 2, 18, "predicted class", anchor="middle", extra=DIM),
        label(14, MARGIN + side / 2, "true class", anchor="middle", turn=-90, extra=DIM),
    ]
    for index, name in enumerate(names):
        middle = MARGIN + size * (index + 0.5)
        parts.append(label(MARGIN - 8, middle + 4, name, anchor="end", most=NAME_CHARACTERS))
        parts.append(label(middle + 4, MARGIN - 8, name, most=NAME_CHARACTERS, turn=-60))
    font = f' font-size="{min(14.0, size / 2.6):.1f}"'
    for (row, column), count in np.ndenumerate(counts):
        total = int(counts[row].sum())
        share = count / total if total else 0.0
        x, y = MARGIN + size * column, MARGIN + size * row
        # About where ink and paper read alike.
        kind = "on" if share > 0.55 else "" if count else "dim"  # noqa: PLR2004
        shown = compact(int(count))
        parts += [
            rects([Bar("mark line", x, y, size, size, f"{count} of {total}", share)]),
            label(x + size / 2, y + size / 2 + 4, shown, anchor="middle", extra=f' class="{kind}"{font}'),
        ]
    title = f"Confusion matrix of {len(names)} classes: rows are the true classes, columns the predicted ones"
    return svg(MARGIN + side + 75, MARGIN + side + 12, title, PAPER + "".join(parts))


def predicted_against_actual(truth: Any, values: Any) -> str:
    """Return a picture with a point for each row, or a square for the rows near to each other; the line is no error."""
    low, high = _bounds(truth, values)
    left, top = 80.0, 20.0
    if len(truth) <= MAX_POINTS:
        xs, ys = left + SIDE * (truth - low) / (high - low), top + SIDE * (high - values) / (high - low)
        points = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in zip(xs, ys, strict=True))
        drawn = f'<g class="mark" fill-opacity="0.55">{points}</g>'
    else:
        drawn = _squares(truth, values, low, high, left, top)
    title = f"Predicted against actual values of {len(truth)} rows; a point on the line is a prediction without error"
    return svg(left + SIDE + 30, top + SIDE + 50, title, PAPER + _axes(low, high, left, top) + drawn)


def _bounds(truth: Any, values: Any) -> tuple[float, float]:
    low, high = float(min(truth.min(), values.min())), float(max(truth.max(), values.max()))
    margin = (high - low) * 0.03 or max(abs(high), 1.0) * 0.1
    return low - margin, high + margin


def _axes(low: float, high: float, left: float, top: float) -> str:
    bottom = top + SIDE
    parts = []
    for tick in round_ticks(low, high):
        offset = SIDE * (tick - low) / (high - low)
        x, y = left + offset, bottom - offset
        parts += [
            f'<path class="line" d="M{x:.1f} {top:.1f}V{bottom:.1f}M{left:.1f} {y:.1f}H{left + SIDE:.1f}"/>',
            label(x, bottom + 18, number(tick), anchor="middle", extra=DIM),
            label(left - 8, y + 4, number(tick), anchor="end", extra=DIM),
        ]
    parts += [
        f'<path stroke="var(--ink)" stroke-dasharray="5 4" d="M{left:.1f} {bottom:.1f}L{left + SIDE:.1f} {top:.1f}"/>',
        label(left + SIDE / 2, bottom + 40, "actual", anchor="middle", extra=DIM),
        label(14, top + SIDE / 2, "predicted", anchor="middle", turn=-90, extra=DIM),
    ]
    return "".join(parts)


def _squares(truth: Any, values: Any, low: float, high: float, left: float, top: float) -> str:
    counts, _, _ = np.histogram2d(truth, values, bins=SQUARES, range=[[low, high], [low, high]])
    size, most = SIDE / SQUARES, np.log1p(counts.max())
    return rects(
        Bar(
            "mark",
            left + size * column,
            top + SIDE - size * (row + 1),
            size,
            size,
            f"{int(counts[column, row])} rows",
            0.15 + 0.85 * np.log1p(counts[column, row]) / most,
        )
        for column, row in np.argwhere(counts)
    )


# -- The page `report.html` about a model: one file, no scripts, no requests, every text escaped -----------------------

PAGE_STYLE = """
:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; background: #fff; color: #1f2328 }
table { border-collapse: collapse; margin: 1rem 0 }
td, th { padding: .25rem .75rem; text-align: left; border-bottom: 1px solid #d1d9e0; overflow-wrap: anywhere }
meter { width: 10rem }
figure { margin: 0; overflow-x: auto }
@media (prefers-color-scheme: dark) { body { background: #0d1117; color: #e6edf3 } td, th { border-color: #3d444d } }
"""  # noqa: E501 - CSS
MODELS = {"gradient_boosting": "Gradient boosting", "linear": "A linear model"}
MEASURED = "Mean and standard deviation over {} folds, each measured on rows that its model was not trained with."
LOSS = "The loss of {} when the values of the column change places between rows."


def render_report(card: Card, figure: str, warnings: Sequence[str]) -> str:
    """Return the page: what the model was trained with, its metrics, its columns, the picture, and the warnings."""
    title = f"Model of {card.target.name}"
    left_out = (f"{name} {reason}" for name, reason in card.left_out.items())
    parts = [
        f"<h1>{escaped(title)}</h1>{_paragraph(_introduction(card))}",
        f"<h2>Quality</h2>{_paragraph(MEASURED.format(card.folds))}{_metrics(card)}<figure>{figure}</figure>",
        f"<h2>Importance of columns</h2>{_paragraph(LOSS.format(SCORE[card.target.kind]))}{_importance(card)}",
        _list("Columns that were left out", left_out),
        _list("Warnings", warnings),
        f"<h2>Origin</h2>{_paragraph(_origin(card))}",
    ]
    return report(title, PAGE_STYLE, "".join(parts))


def _introduction(card: Card) -> str:
    classes = f" into {len(card.target.classes)} classes" if card.target.classes else ""
    skipped = f" {card.skipped:,} rows without a value of it were left out." if card.skipped else ""
    return (
        f"{MODELS[card.model]} for the {card.target.kind}{classes} of column {card.target.name}, "
        f"trained with {card.rows:,} rows.{skipped}"
    )


def _metrics(card: Card) -> str:
    rows = [(escaped(name), _number(each["mean"]), _number(each["std"])) for name, each in card.metrics.items()]
    return _table(("metric", "mean", "standard deviation"), rows)


def _importance(card: Card) -> str:
    kinds = {column.name: column.kind for column in card.columns}
    most = max([loss["mean"] for loss in card.importance.values()] + [1e-9])
    rows = [
        (escaped(name), kinds[name], _bar(loss["mean"] / most), _number(loss["mean"]), _number(loss["std"]))
        for name, loss in card.importance.items()
    ]
    return _table(("column", "kind", "", "mean", "standard deviation"), rows)


def _origin(card: Card) -> str:
    made = ", ".join(f"{name.replace('_', '-')} {version}" for name, version in card.versions.model_dump().items())
    return f"Seed {card.seed}; training file with SHA-256 {card.sha256}; {made}."


def _bar(share: float) -> str:
    return f'<meter value="{max(share, 0):.3f}"></meter>'


def _number(value: float) -> str:
    return f"{value:.4g}"


def _paragraph(text: str) -> str:
    return f"<p>{escaped(text)}</p>"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of cells that are escaped already."""
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{''.join(f'<th>{name}</th>' for name in head)}</tr>{body}</table>"


def _list(title: str, lines: Iterable[str]) -> str:
    items = "".join(f"<li>{escaped(line)}</li>" for line in lines)
    return f"<h2>{title}</h2><ul>{items}</ul>" if items else ""


# -- Files that are written whole or not at all ------------------------------------------------------------------------


@contextmanager
def whole_files(directory: Path) -> Iterator[Path]:
    """Give a folder to write files to, which are moved to `directory` at the end. Where the body raises, none is."""
    with TemporaryDirectory(dir=directory, prefix=".unfinished-") as folder:
        yield Path(folder)
        for path in sorted(Path(folder).iterdir()):
            if path.is_file():
                path.replace(directory / path.name)
