"""Measure a model on a table that it was not trained with."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from app.core.nearest import did_you_mean
from app.tasks.data.tables import Data
from app.tasks.learning.card import Card
from app.tasks.learning.columns import kind_of, type_name
from app.tasks.learning.conversion import convert
from app.tasks.learning.cross_validation import Report
from app.tasks.learning.matching import match_columns
from app.tasks.learning.matrix import batches, to_matrix
from app.tasks.learning.measures import joined, measure, predict_rows
from app.tasks.learning.model_file import load_model
from app.tasks.learning.pictures import draw
from app.tasks.learning.pipelines import Warned, one_core
from app.tasks.learning.target import Target, present
from app.tasks.learning.whole_files import whole_files

LAST_PERCENT = 95  # the metrics and the picture are the rest


def evaluate(
    model_path: Path, data: Data, directory: Path, *, target: str | None = None, report: Report
) -> dict[str, Any]:
    """Measure the model on the rows that have a target, and write the picture of its predictions to `directory`.

    `target` is the column with the true values; without it, the column of this name in the training. The table is read
    in batches: memory grows with the predictions alone (16 bytes for a row, and 8 for each class).

    Returns `{kind, rows, metrics: {name: value}}`. `report(percent, detail)` is called after each batch; what it raises
    ends the evaluation. Raises UnusableModel, and ValueError, which names them, if columns are missing or of another
    type, or values of the target are none of the model's classes.
    """
    model = load_model(model_path)
    convert(data, report)
    frame = match_columns(data.frame, model.card.columns, data.name)
    name = model.card.target.name if target is None else target
    _check_target(frame.collect_schema(), model.card.target, name)
    with one_core(), Warned().collecting():
        truth, predicted = _predict(model.card, model.pipeline, data, frame, name, report)
        metrics = measure(model.card.target.kind, truth, predicted)
    picture, content = draw(model.card.target, truth, predicted)
    with whole_files(directory) as folder:
        (folder / picture).write_text(content, encoding="utf-8")
    return {"kind": model.card.target.kind, "rows": len(truth), "metrics": metrics}


def _check_target(schema: pl.Schema, target: Target, name: str) -> None:
    if name not in schema:
        hint = did_you_mean(name, schema.names())
        raise ValueError(f"target: the file has no column {name!r}{hint}, which the predictions are measured by")
    kind = "number" if target.data_type == "integer" else target.data_type
    if kind_of(schema[name]) != kind:
        raise ValueError(f"target: column {name!r} is {type_name(schema[name])}, and was {kind} in training")


def _predict(card: Card, pipeline: Any, data: Data, frame: pl.LazyFrame, name: str, report: Report) -> tuple[Any, Any]:
    """Return the true values and the predictions of all rows that have a target."""
    there = frame.filter(present(name, frame.collect_schema()[name]))
    truth, predicted = [], []
    for batch, rows in batches(there, dict.fromkeys([*card.names, name]), data.name):
        truth.append(card.target.encode(batch[name]))
        predicted.append(predict_rows(pipeline, card.target.kind, to_matrix(batch, card.columns)))
        report(min(LAST_PERCENT, LAST_PERCENT * rows // max(data.rows, 1)), {"stage": "predicting", "rows": rows})
    if not truth:
        raise ValueError(f"target: no row has a value in column {name!r}, so there is nothing to measure")
    return np.concatenate(truth), joined(predicted)
