"""The aggregates of `transform_data`: one value for each group. Missing values and NaN are left out."""

from collections.abc import Callable
from typing import Any

import polars as pl

from app.core.nearest import did_you_mean
from app.tasks.data.errors import InvalidExpression
from app.tasks.data.expressions import Schema, compile_expression
from app.tasks.data.terms import DTYPES, NUMBERS, Kind, Term

ORDERED: tuple[Kind, ...] = ("number", "integer", "text", "date", "timestamp", "boolean")


def compile_aggregate(value: Any, schema: Schema, place: str) -> pl.Expr:
    """Return the aggregate that `value` is, such as `{"op": "sum", "args": [expression]}`.

    `count` without an argument counts rows. `std` is the one of a sample (n - 1), `first` and `last` are in the order
    of the rows. Raises InvalidExpression.
    """
    match value:
        case {"op": str(name), "args": list(args)} if len(value) == 2:  # noqa: PLR2004 - the two just named
            pass
        case _:
            raise InvalidExpression(f'{place}: must be {{"op": one of {" ".join(AGGREGATES)}, "args": [expression]}}')
    if name not in AGGREGATES:
        meant = did_you_mean(name, AGGREGATES)
        raise InvalidExpression(f"{place}.op: {name[:50]!r} is no aggregate{meant}: use one of {' '.join(AGGREGATES)}")
    if name == "count" and not args:
        return pl.len().cast(pl.Int64)
    if len(args) != 1:
        raise InvalidExpression(f"{place}.args: {name} takes 1 argument, not {len(args)}")
    term = compile_expression(args[0], schema, f"{place}.args[0]")
    if not term.expr.meta.root_names():
        raise InvalidExpression(f"{place}.args[0]: must use a column")
    return AGGREGATES[name](term)


def _sum(term: Term) -> pl.Expr:
    """Return the sum, 0 of nothing. Integers are added in 128 bits: a sum beyond 64 bits fails the query."""
    expr = term.need(*NUMBERS)
    return expr.cast(pl.Int128).sum().cast(pl.Int64) if term.kind == "integer" else expr.sum()


def _of_numbers(aggregate: Callable[[pl.Expr], pl.Expr]) -> Callable[[Term], pl.Expr]:
    return lambda term: aggregate(term.need(*NUMBERS))


def _of_ordered(aggregate: Callable[[pl.Expr], pl.Expr]) -> Callable[[Term], pl.Expr]:
    return lambda term: aggregate(term.need(*ORDERED))


def _of_any(aggregate: Callable[[pl.Expr], pl.Expr]) -> Callable[[Term], pl.Expr]:
    return lambda term: aggregate(term.need(*DTYPES))


AGGREGATES: dict[str, Callable[[Term], pl.Expr]] = {
    "sum": _sum,
    "count": lambda term: term.expr.count().cast(pl.Int64),
    "mean": _of_numbers(lambda expr: expr.mean()),
    "min": _of_ordered(lambda expr: expr.min()),
    "max": _of_ordered(lambda expr: expr.max()),
    "median": _of_numbers(lambda expr: expr.median()),
    "std": _of_numbers(lambda expr: expr.std()),
    "n_unique": _of_any(lambda expr: expr.drop_nulls().n_unique().cast(pl.Int64)),
    "first": _of_any(lambda expr: expr.first()),
    "last": _of_any(lambda expr: expr.last()),
}
