"""The measures of one column in a profile, taken on all its values."""

import datetime as dt
import math
from dataclasses import dataclass
from typing import Any

import polars as pl

from app.tasks.data.json_values import json_value
from app.tasks.data.terms import Kind

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
        "quantiles": quantiles(ordered, kind),
        "top": top(counts),
    }
    return Measured(fields, _histogram(known, kind, low, high, bins))


def no_measures() -> dict[str, Any]:
    return dict.fromkeys(("distinct", "min", "max", "mean", "quantiles")) | {"top": []}


def mean_of(value: Any) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def quantiles(ordered: pl.Series, kind: Kind) -> dict[str, Any] | None:
    """Return the quantiles of ordered values: of numbers by linear interpolation, of times the nearest value."""
    if kind not in WITH_QUANTILES or ordered.is_empty():
        return None
    if kind in NUMERIC:
        numbers = ordered.cast(pl.Float64)
        return {str(at): json_value(numbers.quantile(at, interpolation="linear")) for at in QUANTILES}
    return {str(at): json_value(ordered[round(at * (len(ordered) - 1))]) for at in QUANTILES}


def top(counts: pl.DataFrame) -> list[dict[str, Any]]:
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


def filled(numbers: pl.DataFrame, bins: int) -> list[int]:
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
    return Histogram(low, high, filled(numbers["bin"].value_counts(name="count"), bins))
