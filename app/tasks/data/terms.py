"""The terms of an expression: parts for polars to evaluate, with types that are known before anything runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from app.tasks.data.errors import InvalidExpression

Kind = Literal["boolean", "integer", "number", "text", "date", "timestamp", "null", "nested"]

NUMBERS: tuple[Kind, ...] = ("integer", "number")
MOMENTS: tuple[Kind, ...] = ("date", "timestamp")
SPOKEN: dict[Kind, str] = {
    "boolean": "a boolean", "integer": "a number", "number": "a number", "text": "text", "date": "a date",
    "timestamp": "a timestamp", "null": "null", "nested": "nested or binary data",
}  # fmt: skip
DTYPES: dict[Kind, pl.DataType] = {
    "boolean": pl.Boolean(), "integer": pl.Int64(), "number": pl.Float64(), "text": pl.String(), "date": pl.Date(),
    "timestamp": pl.Datetime("us"),
}  # fmt: skip


@dataclass(frozen=True)
class Term:
    """A part of an expression, with where it stands. Timestamps are in UTC, and without an offset in polars' type."""

    expr: pl.Expr
    kind: Kind
    place: str
    literal: Any = None

    def need(self, *kinds: Kind) -> pl.Expr:
        """Return the expression. Raises InvalidExpression if it is of another kind; null is of every kind."""
        if self.kind not in (*kinds, "null"):
            wanted = " or ".join(dict.fromkeys(SPOKEN[kind] for kind in kinds))
            raise InvalidExpression(f"{self.place}: must be {wanted}, not {SPOKEN[self.kind]}{self._hint(kinds)}")
        return self.expr.cast(DTYPES[kinds[0]]) if self.kind == "null" else self.expr

    def as_number(self) -> pl.Expr:
        return self.need(*NUMBERS).cast(pl.Float64)

    def _hint(self, kinds: Sequence[Kind]) -> str:
        if "text" in kinds and self.kind not in ("nested", "boolean"):
            return ': use {"op": "cast", "args": [..., "text"]}'
        if self.kind == "text" and "nested" not in kinds:
            return f': use {{"op": "cast", "args": [..., "{kinds[0]}"]}}'
        return ""


def column(name: str, dtype: pl.DataType, place: str) -> Term:
    """Return the column's term. NaN is a missing value; decimals are calculated as numbers of 64 bits."""
    expr = pl.col(name)
    kind: Kind = "nested"
    if dtype == pl.Boolean:
        kind = "boolean"
    elif dtype.is_integer():
        kind, expr = "integer", expr.cast(pl.Int128) if dtype in (pl.UInt64, pl.UInt128) else expr
    elif dtype.is_float() or dtype.is_decimal():
        kind, expr = "number", expr.cast(pl.Float64).fill_nan(None)
    elif dtype in (pl.String, pl.Categorical, pl.Enum):
        kind, expr = "text", expr.cast(pl.String)
    elif dtype == pl.Date:
        kind = "date"
    elif isinstance(dtype, pl.Datetime):
        in_utc = expr if dtype.time_zone is None else expr.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
        kind, expr = "timestamp", in_utc.dt.cast_time_unit("us")
    elif dtype == pl.Null:
        kind = "null"
    return Term(expr, kind, place)


def unify(terms: Sequence[Term], what: str) -> tuple[list[pl.Expr], Kind]:
    """Return the expressions in one type: an integer beside a number as one, a date beside a timestamp as midnight.

    Raises InvalidExpression if the terms have no type in common: text and a number, for example.
    """
    for term in terms:
        term.need(*DTYPES)
    known = [term for term in terms if term.kind != "null"]
    if not known:
        return [term.expr for term in terms], "null"
    first = known[0]
    for other in known[1:]:
        if _family(other.kind) != _family(first.kind):
            raise InvalidExpression(
                f"{other.place}: {what} needs values of one type, not {SPOKEN[first.kind]} and {SPOKEN[other.kind]}"
                f"{_advice(first.kind, other.kind)}"
            )
    kinds = {term.kind for term in known}
    kind = first.kind if len(kinds) == 1 else "number" if first.kind in NUMBERS else "timestamp"
    return [term.expr if term.kind == kind else term.expr.cast(DTYPES[kind]) for term in terms], kind


def _family(kind: Kind) -> str:
    return "number" if kind in NUMBERS else "moment" if kind in MOMENTS else kind


def _advice(one: Kind, other: Kind) -> str:
    kinds = {one, other}
    if kinds & {*MOMENTS} and "text" in kinds:
        return ': write {"date": "2024-01-31"} or {"timestamp": "2024-01-31T12:00:00Z"}'
    return ": convert one with cast" if "nested" not in kinds else ""
