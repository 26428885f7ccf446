"""Predict the rows of a table, batch by batch, into a file."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from app.core.nearest import did_you_mean
from app.tasks.data.errors import UnusableData
from app.tasks.data.file_content import Format
from app.tasks.data.outputs import batch_writer, check_output
from app.tasks.data.tables import Data
from app.tasks.learning.conversion import convert
from app.tasks.learning.cross_validation import Report
from app.tasks.learning.matching import UnfitColumns, match_columns
from app.tasks.learning.matrix import batches, to_matrix
from app.tasks.learning.measures import predict_rows
from app.tasks.learning.model_file import TrainedModel, load_model
from app.tasks.learning.pipelines import Warned, one_core
from app.tasks.learning.whole_files import whole_files

LAST_PERCENT = 95  # the end of the file is the rest
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
        convert(data, report)
    report(0, {"stage": "loading"})
    try:
        return prediction.write(data.watched(), destination)
    except (UnusableData, UnfitColumns):
        if data.is_converted:
            raise
    # The types of a CSV file were guesses from its first rows. Those of all rows cost one parse more.
    convert(data, report)
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
        """The rows of the output, in batches."""
        card, total = self.model.card, max(self.data.about_rows or 0, 1)
        for batch, rows in batches(frame, dict.fromkeys([*card.names, *kept]), self.data.name):
            predicted = predict_rows(self.model.pipeline, card.target.kind, to_matrix(batch, card.columns))
            columns = [batch.get_column(name) for name in kept]
            columns.append(card.target.decode(predicted.values).alias(PREDICTION))
            if predicted.probabilities is not None:
                columns.append(pl.Series(PROBABILITY, predicted.of_the_predicted()))
            yield pl.DataFrame(columns)
            self.report(min(LAST_PERCENT, LAST_PERCENT * rows // total), {"stage": "predicting", "rows": rows})


def _check_kept(schema: pl.Schema, keep: Sequence[str]) -> dict[str, pl.DataType]:
    """Return the columns of the table that go into the output, with their types."""
    for name in keep:
        if name not in schema:
            raise ValueError(f"keep: the file has no column {name!r}{did_you_mean(name, schema.names())}")
        if name in (PREDICTION, PROBABILITY):
            raise ValueError(f"keep: column {name!r} has the name of a column of the output; leave it out")
    if len({*keep}) < len(keep):
        raise ValueError("keep: a column is named twice")
    return {name: schema[name] for name in keep}
