"""The operator `cast`: to which type a value can be converted, and how.

A value that has no counterpart fails the query, and is never silently missing. Fractions are cut off in an integer.
"""

from collections.abc import Callable
from typing import Any

import polars as pl

from app.core.nearest import did_you_mean
from app.tasks.data.errors import InvalidExpression
from app.tasks.data.terms import DTYPES, SPOKEN, Kind, Term

# How timestamps are written in a text that is cast: the first that fits.
TIME_PATTERNS = [
    f"%Y-%m-%d{between}%H:%M{rest}" for between in ("T", " ") for rest in (":%S%.f%#z", ":%S%.f", "%#z", "")
]
# No type reads this, so that the conversion of it fails.
UNFIT = "!"

Convert = Callable[[pl.Expr], pl.Expr]


def cast(term: Term, type_name: Any, place: str) -> Term:
    """Return the value in the type that `type_name` names. Raises InvalidExpression if there is no conversion."""
    if not isinstance(type_name, str) or type_name not in DTYPES:
        meant = did_you_mean(type_name, DTYPES) if isinstance(type_name, str) else ""
        raise InvalidExpression(f"{place}.args[1]: {str(type_name)[:50]!r} is no type{meant}: use {', '.join(DTYPES)}")
    kind: Kind = next(each for each in DTYPES if each == type_name)
    if term.kind == "null":
        return Term(term.expr.cast(DTYPES[kind]), kind, place)
    if term.kind == kind:
        return Term(term.expr, kind, place)
    convert = CONVERSIONS.get((term.kind, kind))
    if convert is None:
        raise InvalidExpression(f"{place}: {SPOKEN[term.kind]} cannot be cast to {type_name}")
    return Term(convert(term.expr), kind, place)


def _to(dtype: pl.DataType) -> Convert:
    return lambda expr: expr.cast(dtype)


def _truth(text: pl.Expr) -> pl.Expr:
    lower = text.str.to_lowercase()
    digit = pl.when(lower == "true").then(pl.lit("1")).when(lower == "false").then(pl.lit("0"))
    return digit.otherwise(pl.when(text.is_not_null()).then(pl.lit(UNFIT))).cast(pl.Int8).cast(pl.Boolean)


def _time(text: pl.Expr) -> pl.Expr:
    found = pl.coalesce(_in_utc(text, pattern) for pattern in TIME_PATTERNS)
    unread = pl.when(found.is_null()).then(text).str.to_datetime(TIME_PATTERNS[1], time_unit="us")
    return pl.coalesce(found, unread)


def _in_utc(text: pl.Expr, pattern: str) -> pl.Expr:
    read = text.str.to_datetime(pattern, strict=False, time_unit="us")
    return read.dt.replace_time_zone(None) if pattern.endswith("z") else read


CONVERSIONS: dict[tuple[Kind, Kind], Convert] = {
    ("boolean", "integer"): _to(pl.Int64()),
    ("boolean", "number"): _to(pl.Float64()),
    ("boolean", "text"): lambda expr: pl.when(expr).then(pl.lit("true")).when(~expr).then(pl.lit("false")),
    ("integer", "boolean"): lambda expr: expr != 0,
    ("integer", "number"): _to(pl.Float64()),
    ("integer", "text"): _to(pl.String()),
    ("number", "integer"): _to(pl.Int64()),
    ("number", "text"): _to(pl.String()),
    ("text", "boolean"): _truth,
    ("text", "integer"): _to(pl.Int64()),
    ("text", "number"): lambda expr: expr.cast(pl.Float64).fill_nan(None),
    ("text", "date"): lambda expr: expr.str.to_date("%Y-%m-%d"),
    ("text", "timestamp"): _time,
    ("date", "text"): lambda expr: expr.dt.to_string("%Y-%m-%d"),
    ("date", "timestamp"): _to(pl.Datetime("us")),
    ("timestamp", "text"): lambda expr: expr.dt.to_string("%Y-%m-%dT%H:%M:%S%.f"),
    ("timestamp", "date"): _to(pl.Date()),
}
