"""The measures of a column of too many rows to hold in memory.

Counts, extremes, the mean and the histogram are exact. Quantiles are those of a random sample of about a million rows,
whose rank is off by less than 0.2 %. Distinct values are counted exactly up to SKETCH of them, and beyond with a
standard error of 0.2 % (K. Beyer and others, On Synopses for Distinct-Value Estimation Under Multiset Operations, 2007:
k minimum values). The most frequent values are those of the sample, counted exactly.
"""

from typing import Any

import polars as pl

from app.tasks.data.column_measures import (
    NUMERIC,
    WITH_QUANTILES,
    Histogram,
    Measured,
    filled,
    in_bins,
    mean_of,
    no_measures,
    quantiles,
    top,
)
from app.tasks.data.json_values import json_value
from app.tasks.data.terms import Kind

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
    sample = _sample(frame, rows)
    fields |= {
        "missing": facts["missing"],
        "distinct": _distinct(frame),
        "min": None if kind == "boolean" else json_value(facts["low"]),
        "max": None if kind == "boolean" else json_value(facts["high"]),
        "mean": mean_of(facts["mean"]),
        "quantiles": quantiles(sample.sort(), kind) if kind in WITH_QUANTILES else None,
        "top": _top(frame, sample),
        "approximate": True,
    }
    return Measured(fields, _histogram(frame, kind, facts, bins))


def _sample(frame: pl.LazyFrame, rows: int) -> pl.Series:
    share = min(HASHES - 1, HASHES * SAMPLE_ROWS // rows)
    sampled = frame.with_row_index("row").filter(pl.col("row").hash(SEED) <= pl.lit(share, dtype=pl.UInt64))
    return sampled.select(VALUE.drop_nulls()).collect(engine="streaming").get_column("value")


def _distinct(frame: pl.LazyFrame) -> int:
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


def _top(frame: pl.LazyFrame, sample: pl.Series) -> list[dict[str, Any]]:
    frequent = sample.value_counts(name="count").top_k(CANDIDATES, by="count").get_column("value")
    counted = frame.filter(VALUE.is_in(frequent.implode())).group_by("value").agg(pl.len().alias("count"))
    return top(counted.collect(engine="streaming"))


def _histogram(frame: pl.LazyFrame, kind: Kind, facts: dict[str, Any], bins: int) -> Histogram | None:
    low, high = facts["finite_low"], facts["finite_high"]
    if kind not in WITH_QUANTILES or low is None:
        return None
    if low == high:
        return Histogram(low, high, [_item(frame, VALUE.count())])
    numbered = frame.select(in_bins(VALUE, low, high, bins).alias("bin")).group_by("bin").agg(pl.len())
    return Histogram(low, high, filled(numbered.collect(engine="streaming"), bins))


def _item(frame: pl.LazyFrame, expr: pl.Expr) -> int:
    return int(frame.select(expr).collect(engine="streaming").item())
