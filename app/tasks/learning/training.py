"""Train a model on a table: cross-validation, the importance of columns, then the model of all rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import polars as pl

from app.tasks.data.engine import Report, polars_errors
from app.tasks.data.errors import UnusableData
from app.tasks.data.tables import Data
from app.tasks.learning.artifacts import draw_predictions, render_report, whole_files
from app.tasks.learning.columns import Column, Selection, check_features, select_columns
from app.tasks.learning.cross_validation import (
    CROSS_VALIDATION_PERCENT,
    Trainer,
    convert_data,
    cross_validate,
    ranked_losses,
)
from app.tasks.learning.estimators import check_choice, one_core
from app.tasks.learning.measures import summary
from app.tasks.learning.model_file import Card, TrainedModel, installed_versions, save_model
from app.tasks.learning.pipelines import Model, to_matrix, width
from app.tasks.learning.target import Kind, Target, make_target, present

MAX_FOLDS = 20
FITTED_PERCENT = 98
NUMBER_BYTES = 8


def train(
    data: Data,
    directory: Path,
    *,
    target: str,
    kind: str = "auto",
    features: Sequence[str] | None = None,
    model: str = "gradient_boosting",
    folds: int = 5,
    seed: int = 0,
    max_bytes: int,
    sha256: str,
    report: Report,
) -> dict[str, Any]:
    """Train a model that predicts column `target`, and write it to `directory` with what shows its quality.

    Writes `model.skops`, `report.html`, and `confusion.svg` (classification) or `residuals.svg` (regression); where
    anything raises, none of them. `kind="auto"` takes texts, truth values and whole numbers of few different values as
    classes (`make_target`). Without `features`, all usable columns are used (`select_columns`). Rows without a target
    are left out and counted in the report. `sha256` is that of the file, for the model's card.

    Returns `{kind, rows, features, metrics: {name: {mean, std}}, importance: {column: {mean, std}}}`: metrics by the
    names in `measures.py`, over `folds` folds (stratified for classes); importance is the loss of accuracy or r2 when
    the column is permuted. The same `seed` gives the same numbers.

    `report(percent, detail)` is called after each fold; what it raises ends the training. Raises ValueError, which says
    what to change, if the arguments do not fit the file, and UnusableData if the table takes more than `max_bytes`.
    """
    _check_arguments(kind, model, folds, seed)
    _check_bytes(data.bytes, max_bytes)
    convert_data(data, report)
    names = check_features(data.frame.collect_schema(), target, features)
    _check_bytes(data.rows * len(names) * NUMBER_BYTES, max_bytes)
    table = _load(data, target, kind, names, folds, named=features is not None)
    _check_bytes(len(table.frame) * width(table.columns) * NUMBER_BYTES, max_bytes)
    matrix, truth = table.numbers()
    with one_core():
        trainer = Trainer(table.target.kind, model, table.columns, len(matrix), seed)  # type: ignore[arg-type]
        scores = cross_validate(trainer, matrix, truth, folds, report)
        report(CROSS_VALIDATION_PERCENT, {"stage": "final fit"})
        pipeline = trainer.fit(matrix, truth)
    report(FITTED_PERCENT, {"stage": "writing"})
    card = Card(
        model=trainer.model,
        target=table.target,
        columns=table.columns,
        rows=len(matrix),
        skipped=table.skipped,
        left_out=table.selection.left_out,
        folds=folds,
        seed=seed,
        metrics=summary(scores.metrics),
        importance=ranked_losses(scores.losses),
        sha256=sha256,
        versions=installed_versions(),
    )
    _write(
        directory,
        TrainedModel(card, pipeline),
        draw_predictions(table.target, truth, scores.predicted),
        trainer.warned.texts(),
    )
    return {
        "kind": table.target.kind,
        "rows": card.rows,
        "features": card.names,
        "metrics": card.metrics,
        "importance": card.importance,
    }


def _check_arguments(kind: str, model: str, folds: int, seed: int) -> None:
    check_choice("kind", kind, ("auto", *get_args(Kind)))
    check_choice("model", model, get_args(Model))
    if not 2 <= folds <= MAX_FOLDS:  # noqa: PLR2004 - one part to train with, one to measure with
        raise ValueError(f"folds must be between 2 and {MAX_FOLDS}, not {folds}")
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed must be between 0 and {2**32 - 1}, not {seed}")


def _check_bytes(needed: int, max_bytes: int) -> None:
    if needed > max_bytes:
        raise UnusableData(
            f"training needs the whole table in memory: {needed} bytes, more than the {max_bytes} that are allowed. "
            "Give fewer rows, or name fewer columns in features"
        )


@dataclass(frozen=True)
class _Table:
    """The rows that have a target, with what a model learns from."""

    frame: pl.DataFrame
    target: Target
    selection: Selection
    skipped: int

    @property
    def columns(self) -> list[Column]:
        return self.selection.columns

    def numbers(self) -> tuple[Any, Any]:
        return to_matrix(self.frame, self.columns), self.target.encode(self.frame[self.target.name])


def _load(data: Data, target: str, kind: str, names: Sequence[str], folds: int, *, named: bool) -> _Table:
    with polars_errors(f"{data.name} cannot be read: its content is damaged"):
        table = data.frame.select([*names, target]).collect(engine="streaming")
    frame = table.filter(present(target, table.schema[target]))
    decided = make_target(frame[target], kind, folds)
    return _Table(frame, decided, select_columns(frame, names, named=named), len(table) - len(frame))


def _write(directory: Path, model: TrainedModel, picture: tuple[str, str], warnings: Sequence[str]) -> None:
    name, figure = picture
    with whole_files(directory) as folder:
        save_model(folder / "model.skops", model)
        (folder / "report.html").write_text(render_report(model.card, figure, warnings), encoding="utf-8")
        (folder / name).write_text(figure, encoding="utf-8")
