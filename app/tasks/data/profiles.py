"""The profile of a table: measures of each column, exact, or estimated where there are too many rows.

Its values are JSON: nothing that JSON has not, and nothing that a reader of JSON would round.
"""

import datetime as dt
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import polars as pl

from app.tasks.data.engine import Report, polars_errors, run
from app.tasks.data.errors import InvalidExpression, UnusableData
from app.tasks.data.expressions import check_column
from app.tasks.data.operators import Kind
from app.tasks.data.tables import Data

# I-JSON (RFC 7493): a reader may take every number for one of 64 bits with a fraction, which holds these integers.
EXACT = range(-(2**53) + 1, 2**53)
MAX_CHARACTERS = 200


def json_value(value: Any) -> Any:
    """Return the value as JSON.

    Dates and times are text of ISO 8601, a timestamp with an offset in UTC. Integers beyond 2**53 and decimals are text
    with all digits. Infinity is text, NaN is null. Text is cut after MAX_CHARACTERS.
    """
    match value:
        case None | bool():
            return value
        case int() if value in EXACT:
            return value
        case float():
            return _json_of_float(value)
        case dt.datetime(tzinfo=zone) if zone is not None:
            text = value.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")
        case dt.date():
            text = value.isoformat()
        case _:
            text = str(value)
    return text if len(text) <= MAX_CHARACTERS else f"{text[: MAX_CHARACTERS - 1]}…"


def _json_of_float(value: float) -> float | str | None:
    if math.isnan(value):
        return None
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value


# -- The measures of one column in a profile, taken on all its values --------------------------------------------------

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
TOP = 10
WITH_QUANTILES = ("integer", "number", "date", "timestamp")
NUMERIC = ("integer", "number")


@dataclass(frozen=True)
class Histogram:
    """`counts` of the values in intervals of one width between `low` and `high`, both of the column's type."""

    low: Any
    high: Any
    counts: list[int]


@dataclass(frozen=True)
class Measured:
    """A column of the result, and its histogram where the type has one."""

    fields: dict[str, Any]
    histogram: Histogram | None


def kind_of(dtype: pl.DataType) -> Kind:
    """Return the name of the type in a profile."""
    if dtype == pl.Boolean:
        return "boolean"
    if dtype.is_integer():
        return "integer"
    if dtype.is_float() or dtype.is_decimal():
        return "number"
    if dtype in (pl.String, pl.Categorical, pl.Enum, pl.Time, pl.Duration):
        return "text"
    if dtype == pl.Date:
        return "date"
    return "timestamp" if isinstance(dtype, pl.Datetime) else "nested"


def prepared(expr: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """Return the values as they are measured: NaN is missing, times of the day and durations are text."""
    if dtype.is_float():
        return expr.fill_nan(None)
    if dtype == pl.Duration:
        return expr.dt.to_string("iso")
    return expr.cast(pl.String) if dtype in (pl.Categorical, pl.Enum, pl.Time) else expr


def measure(values: pl.Series, kind: Kind, bins: int) -> Measured:
    """Return the measures of a column of these prepared values. All are exact."""
    known = values.drop_nulls().alias("value")
    fields: dict[str, Any] = {"name": values.name, "type": kind, "missing": values.null_count()}
    if kind == "nested":
        return Measured(fields | no_measures(), None)
    counts = known.value_counts(name="count")
    ordered = known.sort() if kind in WITH_QUANTILES else known
    low, high = (ordered.min(), ordered.max()) if kind != "boolean" else (None, None)
    fields |= {
        "distinct": counts.height,
        "min": json_value(low),
        "max": json_value(high),
        "mean": mean_of(known.mean()) if kind in NUMERIC else None,
        "quantiles": quantiles_of(ordered, kind),
        "top": top_of(counts),
    }
    return Measured(fields, _histogram(known, kind, low, high, bins))


def no_measures() -> dict[str, Any]:
    return dict.fromkeys(("distinct", "min", "max", "mean", "quantiles")) | {"top": []}


def mean_of(value: Any) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def quantiles_of(ordered: pl.Series, kind: Kind) -> dict[str, Any] | None:
    """Return the quantiles of ordered values: of numbers by linear interpolation, of times the nearest value."""
    if kind not in WITH_QUANTILES or ordered.is_empty():
        return None
    if kind in NUMERIC:
        numbers = ordered.cast(pl.Float64)
        return {str(at): json_value(numbers.quantile(at, interpolation="linear")) for at in QUANTILES}
    return {str(at): json_value(ordered[round(at * (len(ordered) - 1))]) for at in QUANTILES}


def top_of(counts: pl.DataFrame) -> list[dict[str, Any]]:
    """Return the most frequent of the values of a frame, by `count`; equally frequent ones in order."""
    if counts.is_empty():
        return []
    least = counts["count"].top_k(TOP).min()
    best = counts.filter(pl.col("count") >= least).sort(["count", "value"], descending=[True, False]).head(TOP)
    return [{"value": json_value(value), "count": count} for value, count in best.select("value", "count").iter_rows()]


def in_bins(expr: pl.Expr, low: Any, high: Any, bins: int) -> pl.Expr:
    """Return the number of each value's interval, from 0; missing for infinite values."""
    if isinstance(low, dt.date):
        numbers, start, end = (each.dt.epoch("us") for each in (expr, pl.lit(low), pl.lit(high)))
    else:
        numbers, start, end = expr, pl.lit(low), pl.lit(high)
    origin, width = start.cast(pl.Float64), end.cast(pl.Float64) - start.cast(pl.Float64)
    share = (numbers.cast(pl.Float64) - origin) / width
    return pl.when(share.is_finite()).then((share * bins).floor().clip(0, bins - 1)).cast(pl.Int64)


def counts_of_bins(numbers: pl.DataFrame, bins: int) -> list[int]:
    """Return the counts of all intervals, of a frame with the columns `bin` and `count`."""
    found = {number: count for number, count in numbers.iter_rows() if number is not None}
    return [found.get(number, 0) for number in range(bins)]


def _histogram(known: pl.Series, kind: Kind, low: Any, high: Any, bins: int) -> Histogram | None:
    if kind not in WITH_QUANTILES:
        return None
    if kind == "number":
        finite = known.cast(pl.Float64).filter(known.cast(pl.Float64).is_finite())
        low, high = finite.min(), finite.max()
    if low is None:
        return None
    if low == high:
        return Histogram(low, high, [len(known)])
    numbers = known.to_frame().select(in_bins(pl.col("value"), low, high, bins).alias("bin"))
    return Histogram(low, high, counts_of_bins(numbers["bin"].value_counts(name="count"), bins))


# -- The measures of a column of too many rows to hold in memory -------------------------------------------------------
# Counts, extremes, the mean and the histogram are exact. Quantiles are those of a random sample of about a million
# rows, whose rank is off by less than 0.2 %. Distinct values are counted exactly up to SKETCH of them, and beyond with
# a standard error of 0.2 % (K. Beyer and others, On Synopses for Distinct-Value Estimation Under Multiset Operations,
# 2007: k minimum values). The most frequent values are those of the sample, counted exactly.

SAMPLE_ROWS = 1_000_000
SKETCH = 250_000
CANDIDATES = 1000
SEED = 5
VALUE = pl.col("value")
HASHES = 2**64


def measure_large(frame: pl.LazyFrame, name: str, kind: Kind, rows: int, bins: int) -> Measured:
    """Return the measures of a column of prepared values. Reads the frame some times, each in a stream."""
    frame = frame.select(pl.col(name).alias("value"))
    fields: dict[str, Any] = {"name": name, "type": kind}
    if kind == "nested":
        return Measured(fields | {"missing": _item(frame, VALUE.null_count())} | no_measures(), None)
    finite = VALUE.cast(pl.Float64).is_finite() if kind == "number" else pl.lit(True)
    facts = frame.select(
        missing=VALUE.null_count(),
        low=VALUE.min(),
        high=VALUE.max(),
        mean=VALUE.mean() if kind in NUMERIC else pl.lit(None),
        finite_low=VALUE.filter(finite).min(),
        finite_high=VALUE.filter(finite).max(),
    ).collect(engine="streaming").row(0, named=True)  # fmt: skip
    sample = _large_sample(frame, rows)
    fields |= {
        "missing": facts["missing"],
        "distinct": _large_distinct(frame),
        "min": None if kind == "boolean" else json_value(facts["low"]),
        "max": None if kind == "boolean" else json_value(facts["high"]),
        "mean": mean_of(facts["mean"]),
        "quantiles": quantiles_of(sample.sort(), kind) if kind in WITH_QUANTILES else None,
        "top": _large_top(frame, sample),
        "approximate": True,
    }
    return Measured(fields, _large_histogram(frame, kind, facts, bins))


def _large_sample(frame: pl.LazyFrame, rows: int) -> pl.Series:
    share = min(HASHES - 1, HASHES * SAMPLE_ROWS // rows)
    sampled = frame.with_row_index("row").filter(pl.col("row").hash(SEED) <= pl.lit(share, dtype=pl.UInt64))
    return sampled.select(VALUE.drop_nulls()).collect(engine="streaming").get_column("value")


def _large_distinct(frame: pl.LazyFrame) -> int:
    """Return the number of values: exact up to SKETCH, else estimated from the SKETCH smallest of their hashes."""
    kept, limit = pl.Series("hash", [], dtype=pl.UInt64), HASHES - 1
    for batch in frame.select(VALUE.drop_nulls().hash(SEED).alias("hash")).collect_batches(engine="streaming"):
        fresh = batch.get_column("hash").unique()
        kept = pl.concat([kept, fresh.filter(fresh <= limit)])
        if len(kept) > 2 * SKETCH:
            kept = kept.unique().bottom_k(SKETCH)
            limit = _highest(kept) if len(kept) == SKETCH else limit
    smallest = kept.unique().bottom_k(SKETCH)
    if len(smallest) < SKETCH:
        return len(smallest)
    return round((SKETCH - 1) / (_highest(smallest) / HASHES))


def _highest(hashes: pl.Series) -> int:
    return int(pl.select(pl.lit(hashes).max()).item())


def _large_top(frame: pl.LazyFrame, sample: pl.Series) -> list[dict[str, Any]]:
    frequent = sample.value_counts(name="count").top_k(CANDIDATES, by="count").get_column("value")
    counted = frame.filter(VALUE.is_in(frequent.implode())).group_by("value").agg(pl.len().alias("count"))
    return top_of(counted.collect(engine="streaming"))


def _large_histogram(frame: pl.LazyFrame, kind: Kind, facts: dict[str, Any], bins: int) -> Histogram | None:
    low, high = facts["finite_low"], facts["finite_high"]
    if kind not in WITH_QUANTILES or low is None:
        return None
    if low == high:
        return Histogram(low, high, [_item(frame, VALUE.count())])
    numbered = frame.select(in_bins(VALUE, low, high, bins).alias("bin")).group_by("bin").agg(pl.len())
    return Histogram(low, high, counts_of_bins(numbered.collect(engine="streaming"), bins))


def _item(frame: pl.LazyFrame, expr: pl.Expr) -> int:
    return int(frame.select(expr).collect(engine="streaming").item())


# -- The profile: its columns, some at a time, each measured in the way that the number of rows asks for ---------------

EXACT_ROWS = 1_000_000
# Of columns that are read together.
CELLS = 2_000_000
MAX_BINS = 200
READING_PERCENT = 30


@dataclass(frozen=True)
class Profile:
    """The result, and by the columns' names the histograms of those that have an order."""

    result: dict[str, Any]
    histograms: dict[str, Histogram]


def profile_with_histograms(
    data: Data, *, columns: Sequence[str] | None = None, bins: int = 20, report: Report
) -> Profile:
    """Return the profile of these columns, of all where `columns` is None, with histograms of `bins` intervals.

    The result is `{rows, format, columns: [{name, type, missing, distinct, min, max, mean, quantiles, top}]}` as JSON.
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
