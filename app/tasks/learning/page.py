"""The page `report.html` about a model: one file, no scripts, no requests, every text escaped."""

from collections.abc import Iterable, Sequence

from app.tasks.learning.card import Card
from app.tasks.learning.measures import SCORE
from app.tasks.learning.svg import clean

STYLE = """
:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; background: #fff; color: #1f2328 }
table { border-collapse: collapse; margin: 1rem 0 }
td, th { padding: .25rem .75rem; text-align: left; border-bottom: 1px solid #d1d9e0; overflow-wrap: anywhere }
meter { width: 10rem }
figure { margin: 0; overflow-x: auto }
@media (prefers-color-scheme: dark) { body { background: #0d1117; color: #e6edf3 } td, th { border-color: #3d444d } }
"""  # noqa: E501 - CSS
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
MODELS = {"gradient_boosting": "Gradient boosting", "linear": "A linear model"}
MEASURED = "Mean and standard deviation over {} folds, each measured on rows that its model was not trained with."
LOSS = "The loss of {} when the values of the column change places between rows."


def render(card: Card, figure: str, warnings: Sequence[str]) -> str:
    """Return the page: what the model was trained with, its metrics, its columns, the picture, and the warnings."""
    title = clean(f"Model of {card.target.name}")
    left_out = (f"{name} {reason}" for name, reason in card.left_out.items())
    parts = [
        f"<h1>{title}</h1>{_paragraph(_introduction(card))}",
        f"<h2>Quality</h2>{_paragraph(MEASURED.format(card.folds))}{_metrics(card)}<figure>{figure}</figure>",
        f"<h2>Importance of columns</h2>{_paragraph(LOSS.format(SCORE[card.target.kind]))}{_importance(card)}",
        _list("Columns that were left out", left_out),
        _list("Warnings", warnings),
        f"<h2>Origin</h2>{_paragraph(_origin(card))}",
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{title}</title><style>{STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )


def _introduction(card: Card) -> str:
    classes = f" into {len(card.target.classes)} classes" if card.target.classes else ""
    skipped = f" {card.skipped:,} rows without a value of it were left out." if card.skipped else ""
    return (
        f"{MODELS[card.model]} for the {card.target.kind}{classes} of column {card.target.name}, "
        f"trained with {card.rows:,} rows.{skipped}"
    )


def _metrics(card: Card) -> str:
    rows = [(clean(name), _number(each["mean"]), _number(each["std"])) for name, each in card.metrics.items()]
    return _table(("metric", "mean", "standard deviation"), rows)


def _importance(card: Card) -> str:
    kinds = {column.name: column.kind for column in card.columns}
    most = max([loss["mean"] for loss in card.importance.values()] + [1e-9])
    rows = [
        (clean(name), kinds[name], _bar(loss["mean"] / most), _number(loss["mean"]), _number(loss["std"]))
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
    return f"<p>{clean(text)}</p>"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of cells that are escaped already."""
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{''.join(f'<th>{name}</th>' for name in head)}</tr>{body}</table>"


def _list(title: str, lines: Iterable[str]) -> str:
    items = "".join(f"<li>{clean(line)}</li>" for line in lines)
    return f"<h2>{title}</h2><ul>{items}</ul>" if items else ""
