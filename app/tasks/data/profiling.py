"""The profile of a table: measures of each column."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import polars as pl

from app.tasks.data.column_measures import Histogram, Measured, kind_of, measure, prepared
from app.tasks.data.engine import polars_errors, run
from app.tasks.data.errors import InvalidExpression, UnusableData
from app.tasks.data.expressions import check_column
from app.tasks.data.large_columns import measure_large
from app.tasks.data.reading import Data
from app.tasks.data.terms import Kind

EXACT_ROWS = 1_000_000
# Of columns that are read together.
CELLS = 2_000_000
MAX_BINS = 200
READING_PERCENT = 30

Report = Callable[[int, dict[str, Any]], None]


@dataclass(frozen=True)
class Profile:
    """The result, and by the columns' names the histograms of those that have an order."""

    result: dict[str, Any]
    histograms: dict[str, Histogram]


def profile(data: Data, *, columns: Sequence[str] | None = None, bins: int = 20, report: Report) -> dict[str, Any]:
    """Return `{rows, format, columns: [{name, type, missing, distinct, min, max, mean, quantiles, top}]}` as JSON.

    As `profile_with_histograms`, without the histograms.
    """
    return profile_with_histograms(data, columns=columns, bins=bins, report=report).result


def profile_with_histograms(
    data: Data, *, columns: Sequence[str] | None = None, bins: int = 20, report: Report
) -> Profile:
    """Return the profile of these columns, of all where `columns` is None, with histograms of `bins` intervals.

    Counts, extremes and means are exact. Of a table of more than EXACT_ROWS rows, `distinct`, `quantiles` and `top` are
    within 1 %, and the column says `approximate: true`. NaN is a missing value. A measure that a type has not is null:
    text has no mean, nested data has only `missing`.

    `report` is called with the percent done and a detail while the file is read and after some columns. What it raises
    passes through. Raises UnusableData, InvalidExpression.
    """
    if not 1 <= bins <= MAX_BINS:
        raise InvalidExpression(f"bins must be from 1 to {MAX_BINS}, not {bins}")
    rows = _convert(data, report)
    schema = data.frame.collect_schema()
    names = [check_column(name, schema, "columns") for name in columns] if columns is not None else schema.names()
    measured: list[Measured] = []
    with polars_errors(f"{data.name} cannot be read: its content is damaged"):
        for each in _measured(data.frame, names, rows, bins):
            measured.append(each)
            percent = READING_PERCENT + (100 - READING_PERCENT) * len(measured) // len(names)
            report(percent, {"stage": "measuring", "columns": len(measured), "of": len(names)})
    result = {"rows": rows, "format": data.format, "columns": [each.fields for each in measured]}
    return Profile(result, {each.fields["name"]: each.histogram for each in measured if each.histogram})


def _convert(data: Data, report: Report) -> int:
    """Return the number of rows, with the file ready to be read by columns."""

    def poll() -> None:
        rows, total = data.watch.rows, data.about_rows
        percent = READING_PERCENT * min(rows, total) // max(1, total) if total else 0
        report(percent, {"stage": "reading", "rows": rows, "of": total})

    return run(lambda: data.rows, [data.watch], poll)


def _measured(frame: pl.LazyFrame, names: list[str], rows: int, bins: int) -> Iterator[Measured]:
    schema = frame.collect_schema()
    ready = {name: prepared(pl.col(name), schema[name]) for name in names}
    if rows > EXACT_ROWS:
        for name in names:
            with _in_years(name, kind_of(schema[name])):
                each = measure_large(frame.select(ready[name]), name, kind_of(schema[name]), rows, bins)
            yield each
        return
    together = max(1, CELLS // max(1, rows))
    for start in range(0, len(names), together):
        part = names[start : start + together]
        values = frame.select(ready[name] for name in part).collect(engine="streaming")
        for name in part:
            with _in_years(name, kind_of(schema[name])):
                each = measure(values.get_column(name), kind_of(schema[name]), bins)
            yield each


@contextmanager
def _in_years(name: str, kind: Kind) -> Iterator[None]:
    """Make the error of a time that Python cannot hold an UnusableData."""
    try:
        yield
    except (ValueError, OverflowError):
        if kind not in ("date", "timestamp"):
            raise
        raise UnusableData(
            f"column {name} has times outside the years 1 to 9999: correct them, or leave it out"
        ) from None
