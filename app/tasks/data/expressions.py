"""CQL2 JSON (OGC 21-065r2) to expressions of polars: no SQL and no code, only the operators of `operators.py`.

Types are checked before anything runs. Missing values are SQL's: a comparison with one is neither true nor false. NaN
is a missing value, and so is a division by zero.
"""

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any

import polars as pl

from app.core.nearest import did_you_mean
from app.tasks.data.errors import InvalidExpression
from app.tasks.data.operators import DTYPES, NUMBERS, OPERATORS, Kind, Term, column

MAX_DEPTH = 20
MAX_PARTS = 10_000
MAX_TEXT = 10_000
# Texts in all `concat` of an expression: each may be a long one.
MAX_JOINED = 1000
INTEGERS = range(-(2**63), 2**63)
Schema = Mapping[str, pl.DataType]


def compile_expression(value: Any, schema: Schema, place: str) -> Term:
    """Return the term of `value`, over columns of these types. Errors call the whole expression `place`.

    Raises InvalidExpression, which names the place of the first fault.
    """
    return _Compiler(schema).term(value, place, 0)


def compile_filter(value: Any, schema: Schema, place: str = "filter") -> pl.Expr:
    """Return the condition that `value` is. Raises InvalidExpression."""
    return compile_expression(value, schema, place).need("boolean")


class _Compiler:
    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._parts = self._joined = 0
        self._forms: dict[str, Callable[[Any, str], Term]] = {
            "property": self._property,
            "date": _date,
            "timestamp": _timestamp,
        }

    def term(self, value: Any, place: str, depth: int) -> Term:
        self._parts += 1
        if depth > MAX_DEPTH:
            raise InvalidExpression(f"{place[:100]}: is nested more than {MAX_DEPTH} deep: write it flatter")
        if self._parts > MAX_PARTS:
            raise InvalidExpression(f"{place[:100]}: the expression has more than {MAX_PARTS} parts: shorten it")
        if not isinstance(value, dict):
            return _literal(value, place)
        if "op" in value:
            return self._operation(value, place, depth)
        if len(value) == 1 and (form := self._forms.get(next(iter(value)))):
            return form(next(iter(value.values())), place)
        raise InvalidExpression(
            f'{place}: must be a value, {{"property": name}}, {{"op": name, "args": [...]}}, '
            f'{{"date": text}} or {{"timestamp": text}}, not an object of {_names(value)}'
        )

    def _operation(self, value: dict[str, Any], place: str, depth: int) -> Term:
        name, args = value["op"], value.get("args")
        operator = OPERATORS.get(name) if isinstance(name, str) else None
        if operator is None:
            meant = did_you_mean(name, OPERATORS) if isinstance(name, str) else ""
            known = " ".join(OPERATORS)
            raise InvalidExpression(f"{place}.op: {_shown(name)} is no operator{meant}: use one of {known}")
        if extra := value.keys() - {"op", "args"}:
            raise InvalidExpression(f"{place}: has only op and args, not {_names(extra)}")
        if not isinstance(args, list):
            raise InvalidExpression(f"{place}.args: must be a list of arguments")
        if not operator.least <= len(args) <= (operator.most or len(args)):
            raise InvalidExpression(f"{place}.args: {name} takes {operator.arguments()}, not {len(args)}")
        self._joined += len(args) if name == "concat" else 0
        if self._joined > MAX_JOINED:
            raise InvalidExpression(f"{place[:100]}: the expression joins more than {MAX_JOINED} texts: join fewer")
        literals: list[Any] = []
        if len(args) > 1 and operator.second == "literal":
            args, literals = args[:1], args[1:]
        places = [f"{place}.args[{at}]" for at in range(len(args))]
        if operator.second == "list":
            if not isinstance(args[1], list) or not args[1]:
                raise InvalidExpression(f"{place}.args[1]: must be a list with at least one value")
            places = [places[0], *(f"{places[1]}[{at}]" for at in range(len(args[1])))]
            args = [args[0], *args[1]]
        terms = [self.term(each, where, depth + 1) for each, where in zip(args, places, strict=True)]
        return operator.build(terms, literals, place)

    def _property(self, name: Any, place: str) -> Term:
        if not isinstance(name, str):
            raise InvalidExpression(f"{place}.property: must be the name of a column")
        return column(name, self._schema[check_column(name, self._schema, f"{place}.property")], place)


def check_column(name: str, schema: Mapping[str, Any], place: str) -> str:
    """Return the name. Raises InvalidExpression unless there is a column of this name."""
    if name not in schema:
        known = "" if len(schema) > 50 else f": there are {', '.join(schema)}"  # noqa: PLR2004 - a line is readable
        raise InvalidExpression(f"{place}: there is no column {_shown(name)}{did_you_mean(name, schema)}{known}")
    return name


def _literal(value: Any, place: str) -> Term:
    if value is None:
        return Term(pl.lit(None), "null", place)
    if isinstance(value, bool):
        return Term(pl.lit(value), "boolean", place, value)
    if isinstance(value, int):
        if value not in INTEGERS:
            raise InvalidExpression(f"{place}: integers have at most 64 bits: write a larger one as 1e30")
        return Term(pl.lit(value, dtype=pl.Int64), "integer", place, value)
    if isinstance(value, float):
        return Term(pl.lit(value, dtype=pl.Float64), "number", place, value)
    if isinstance(value, str) and len(value) <= MAX_TEXT:
        return Term(pl.lit(value, dtype=pl.String), "text", place, value)
    what = "a list" if isinstance(value, list) else f"more than {MAX_TEXT} characters"
    raise InvalidExpression(f"{place}: must be a single value, not {what}")


def _date(text: Any, place: str) -> Term:
    try:
        return Term(pl.lit(dt.date.fromisoformat(text)), "date", place)
    except (TypeError, ValueError):
        raise InvalidExpression(f"{place}.date: must be a date such as 2024-01-31, not {_shown(text)}") from None


def _timestamp(text: Any, place: str) -> Term:
    try:
        moment = dt.datetime.fromisoformat(text)
        in_utc = moment.astimezone(dt.UTC).replace(tzinfo=None) if moment.tzinfo else moment
    except (TypeError, ValueError, OverflowError):
        raise InvalidExpression(
            f"{place}.timestamp: must be a time such as 2024-01-31T12:00:00Z, not {_shown(text)}"
        ) from None
    return Term(pl.lit(in_utc, dtype=pl.Datetime("us")), "timestamp", place)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."  # noqa: PLR2004 - half a line


def _names(names: Any) -> str:
    return ", ".join(sorted(str(name)[:50] for name in [*names][:10])) or "nothing"


# -- The aggregates of `transform_data`: one value for each group. Missing values and NaN are left out -----------------

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
