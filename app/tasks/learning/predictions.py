"""The predictions of a model for a table: measured by its true values, or written batch by batch into a file.

First comes the check whether the table has the columns that the model needs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from app.core.nearest import did_you_mean
from app.tasks.data.engine import Report, polars_errors
from app.tasks.data.errors import UnusableData
from app.tasks.data.file_content import Format
from app.tasks.data.outputs import batch_writer, check_output
from app.tasks.data.tables import Data
from app.tasks.learning.artifacts import draw_predictions, whole_files
from app.tasks.learning.columns import Column, ColumnKind, check_names, kind_of, quoted, type_name
from app.tasks.learning.cross_validation import convert_data
from app.tasks.learning.estimators import Warned, one_core
from app.tasks.learning.measures import joined, measure, predict_rows
from app.tasks.learning.model_file import Card, TrainedModel, load_model
from app.tasks.learning.pipelines import batches, to_matrix
from app.tasks.learning.target import Target, present

DTYPES: dict[ColumnKind, type[pl.DataType]] = {
    "number": pl.Float64,
    "boolean": pl.Boolean,
    "text": pl.String,
    "date": pl.Date,
    "datetime": pl.Datetime,
    "time": pl.Time,
}


class UnfitColumns(ValueError):
    """Columns of a table are missing, or of another type than in training; the message names them."""


def match_columns(frame: pl.LazyFrame, columns: Sequence[Column], file: str) -> pl.LazyFrame:
    """Return the table with the columns in types that the model takes.

    A column without any value is of every type: a CSV file says nothing about the type of an empty column. Raises
    UnfitColumns, which names them, if columns are missing or of another type, and UnusableData, which calls the file
    `file`, where its content is damaged.
    """
    schema = frame.collect_schema()
    missing = [column.name for column in columns if column.name not in schema]
    others = [column for column in columns if column.name in schema and kind_of(schema[column.name]) != column.kind]
    with polars_errors(f"{file} cannot be read: its content is damaged"):
        empty = _empty(frame, [column.name for column in others])
    wrong = [column for column in others if column.name not in empty]
    faults = []
    if missing:
        hint = did_you_mean(missing[0], schema.names()) if len(missing) == 1 else ""
        faults.append(f"the file lacks {quoted(missing)}{hint}")
    if wrong:
        faults.append("; ".join(_difference(column, schema[column.name]) for column in wrong[:10]))
    if faults:
        raise UnfitColumns(f"the columns are not those that the model was trained with: {'; '.join(faults)}")
    return frame.with_columns(pl.lit(None, dtype=DTYPES[column.kind]).alias(column.name) for column in others)


def _difference(column: Column, dtype: pl.DataType) -> str:
    return f"{column.name!r} is {type_name(dtype)}, and was {column.kind} in training"


def _empty(frame: pl.LazyFrame, names: Sequence[str]) -> set[str]:
    """Return those of the columns that have no value. Reads them all, so it is asked for doubtful columns only."""
    if not names:
        return set()
    found = frame.select(pl.col(name).is_null().all() for name in names).collect(engine="streaming")
    return {name for name in names if found[name][0]}


# -- Measure a model on a table that it was not trained with -----------------------------------------------------------

MEASURED_PERCENT = 95  # the metrics and the picture are the rest


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
    convert_data(data, report)
    frame = match_columns(data.frame, model.card.columns, data.name)
    name = model.card.target.name if target is None else target
    _check_target(frame.collect_schema(), model.card.target, name)
    with one_core(), Warned().collecting():
        truth, predicted = _predict(model.card, model.pipeline, data, frame, name, report)
        metrics = measure(model.card.target.kind, truth, predicted)
    picture, content = draw_predictions(model.card.target, truth, predicted)
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
        report(
            min(MEASURED_PERCENT, MEASURED_PERCENT * rows // max(data.rows, 1)), {"stage": "predicting", "rows": rows}
        )
    if not truth:
        raise ValueError(f"target: no row has a value in column {name!r}, so there is nothing to measure")
    return np.concatenate(truth), joined(predicted)


# -- Predict the rows of a table, batch by batch, into a file ----------------------------------------------------------

WRITTEN_PERCENT = 95  # the end of the file is the rest
PREDICTION, PROBABILITY = "prediction", "probability"


def predict(
    model_path: Path,
    data: Data,
    destination: Path,
    *,
    output: str = "parquet",
    keep: Sequence[str] | None = None,
    max_bytes: int | None = None,
    report: Report,
) -> dict[str, Any]:
    """Predict each row of the table, in its order, and write the predictions to the file `destination`.

    The file has the columns `keep` of the table, `prediction`, and for a classification `probability` (of the predicted
    class). It is written batch by batch, so that memory does not grow with the table; where anything raises, there is
    no file.

    Returns `{rows, columns}`, where `columns` are the names in the file. `report(percent, detail)` is called after each
    batch; what it raises ends the prediction. Raises UnusableModel, and ValueError, which names them, if columns of the
    model are missing or of another type, `keep` names a column that is not there, or `output` cannot hold one: all
    before a row is written. Raises UnusableData if the file would take more than `max_bytes` bytes.
    """
    prediction = _Prediction(load_model(model_path), data, keep or (), check_output(output), max_bytes, report)
    if data.about_rows is None:
        convert_data(data, report)
    report(0, {"stage": "loading"})
    try:
        return prediction.write(data.watched(), destination)
    except (UnusableData, UnfitColumns):
        if data.is_converted:
            raise
    # The types of a CSV file were guesses from its first rows. Those of all rows cost one parse more.
    convert_data(data, report)
    return prediction.write(data.frame, destination)


@dataclass(frozen=True)
class _Prediction:
    model: TrainedModel
    data: Data
    keep: Sequence[str]
    output: Format
    max_bytes: int | None
    report: Report

    def write(self, table: pl.LazyFrame, destination: Path) -> dict[str, Any]:
        frame = match_columns(table, self.model.card.columns, self.data.name)
        kept = _check_kept(frame.collect_schema(), self.keep)
        schema = kept | self._schema()
        rows = 0
        with whole_files(destination.parent) as folder, one_core(), Warned().collecting():
            with batch_writer(folder / destination.name, self.output, schema, self.max_bytes) as write:
                for part in self._parts(frame, [*kept]):
                    write(part)
                    rows += len(part)
            if not self.data.is_confirmed():
                raise UnusableData(f"{self.data.name} cannot be read in one go")
        return {"rows": rows, "columns": [*schema]}

    def _schema(self) -> dict[str, Any]:
        target = self.model.card.target
        return {PREDICTION: target.dtype} | ({PROBABILITY: pl.Float64} if target.kind == "classification" else {})

    def _parts(self, frame: pl.LazyFrame, kept: list[str]) -> Iterator[pl.DataFrame]:
        """Yield the rows of the output, in batches."""
        card, total = self.model.card, max(self.data.about_rows or 0, 1)
        for batch, rows in batches(frame, dict.fromkeys([*card.names, *kept]), self.data.name):
            predicted = predict_rows(self.model.pipeline, card.target.kind, to_matrix(batch, card.columns))
            columns = [batch.get_column(name) for name in kept]
            columns.append(card.target.decode(predicted.values).alias(PREDICTION))
            if predicted.probabilities is not None:
                columns.append(pl.Series(PROBABILITY, predicted.of_the_predicted()))
            yield pl.DataFrame(columns)
            self.report(min(WRITTEN_PERCENT, WRITTEN_PERCENT * rows // total), {"stage": "predicting", "rows": rows})


def _check_kept(schema: pl.Schema, keep: Sequence[str]) -> dict[str, pl.DataType]:
    """Return the columns of the table that go into the output, with their types."""
    check_names(keep, schema, "keep")
    for name in (PREDICTION, PROBABILITY):
        if name in keep:
            raise ValueError(f"keep: column {name!r} has the name of a column of the output; leave it out")
    return {name: schema[name] for name in keep}
