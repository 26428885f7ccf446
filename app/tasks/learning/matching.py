"""Whether a table has the columns that a model needs, in types that it takes."""

from collections.abc import Sequence

import polars as pl

from app.core.nearest import did_you_mean
from app.tasks.data.engine import polars_errors
from app.tasks.learning.columns import Column, ColumnKind, kind_of, quoted, type_name

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
