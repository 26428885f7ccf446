"""The terms of an expression, and the operators that make one of others.

A term is a part for polars to evaluate, with a type that is known before anything runs. The first operators are
CQL2's: `and or not = <> < <= > >= between in like isNull + - * / % casei`. The others go beyond it. Integers are
calculated in 128 bits: a result beyond 64 bits fails the query instead of being another number.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import eq, ge, gt, le, lt, ne
from typing import Any, Literal

import polars as pl

from app.core.nearest import did_you_mean
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


# -- The operator `cast`: to which type a value can be converted, and how ----------------------------------------------
# A value that has no counterpart fails the query, and is never silently missing. Fractions are cut off in an integer.

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


def _cast_to(dtype: pl.DataType) -> Convert:
    return lambda expr: expr.cast(dtype)


def _text_to_truth(text: pl.Expr) -> pl.Expr:
    lower = text.str.to_lowercase()
    digit = pl.when(lower == "true").then(pl.lit("1")).when(lower == "false").then(pl.lit("0"))
    return digit.otherwise(pl.when(text.is_not_null()).then(pl.lit(UNFIT))).cast(pl.Int8).cast(pl.Boolean)


def _text_to_time(text: pl.Expr) -> pl.Expr:
    found = pl.coalesce(_in_utc(text, pattern) for pattern in TIME_PATTERNS)
    unread = pl.when(found.is_null()).then(text).str.to_datetime(TIME_PATTERNS[1], time_unit="us")
    return pl.coalesce(found, unread)


def _in_utc(text: pl.Expr, pattern: str) -> pl.Expr:
    read = text.str.to_datetime(pattern, strict=False, time_unit="us")
    return read.dt.replace_time_zone(None) if pattern.endswith("z") else read


CONVERSIONS: dict[tuple[Kind, Kind], Convert] = {
    ("boolean", "integer"): _cast_to(pl.Int64()),
    ("boolean", "number"): _cast_to(pl.Float64()),
    ("boolean", "text"): lambda expr: pl.when(expr).then(pl.lit("true")).when(~expr).then(pl.lit("false")),
    ("integer", "boolean"): lambda expr: expr != 0,
    ("integer", "number"): _cast_to(pl.Float64()),
    ("integer", "text"): _cast_to(pl.String()),
    ("number", "integer"): _cast_to(pl.Int64()),
    ("number", "text"): _cast_to(pl.String()),
    ("text", "boolean"): _text_to_truth,
    ("text", "integer"): _cast_to(pl.Int64()),
    ("text", "number"): lambda expr: expr.cast(pl.Float64).fill_nan(None),
    ("text", "date"): lambda expr: expr.str.to_date("%Y-%m-%d"),
    ("text", "timestamp"): _text_to_time,
    ("date", "text"): lambda expr: expr.dt.to_string("%Y-%m-%d"),
    ("date", "timestamp"): _cast_to(pl.Datetime("us")),
    ("timestamp", "text"): lambda expr: expr.dt.to_string("%Y-%m-%dT%H:%M:%S%.f"),
    ("timestamp", "date"): _cast_to(pl.Date()),
}


# -- The operators by their names --------------------------------------------------------------------------------------

MAX_DIGITS = 15
MAX_PATTERN = 1000
LIKE = re.compile(r"\\(.)|(%)|(_)", re.DOTALL)

Build = Callable[[list[Term], list[Any], str], Term]


@dataclass(frozen=True)
class Operator:
    """An operator of `least` to `most` arguments (None: any number). The second one may be no expression."""

    build: Build
    least: int
    most: int | None
    second: Literal["expression", "literal", "list"] = "expression"

    def arguments(self) -> str:
        if self.most is None:
            return f"at least {self.least} argument{'s' * (self.least > 1)}"
        if self.least == self.most:
            return f"{self.least} argument{'s' * (self.least > 1)}"
        return f"{self.least} to {self.most} arguments"


def _like(terms: list[Term], literals: list[Any], place: str) -> Term:
    """Say whether the whole text fits: `%` is any characters, `_` is one, a backslash takes the next one as it is."""
    (pattern,) = literals
    is_lower = False
    match pattern:
        case {"op": "casei", "args": [inner]}:
            pattern, is_lower = inner, True
    if not isinstance(pattern, str):
        raise InvalidExpression(f"{place}.args[1]: must be text with % for any characters and _ for one")
    pattern = pattern.lower() if is_lower else pattern
    if len(pattern) > MAX_PATTERN:
        raise InvalidExpression(f"{place}.args[1]: a pattern has at most {MAX_PATTERN} characters")
    pieces, end = [], 0
    for found in LIKE.finditer(pattern):
        pieces.append(re.escape(pattern[end : found.start()]))
        pieces.append(".*" if found[2] else "." if found[3] else re.escape(found[1]))
        end = found.end()
    regex = "".join([*pieces, re.escape(pattern[end:])])
    return Term(terms[0].need("text").str.contains(rf"(?s)\A(?:{regex})\z"), "boolean", place)


def _logical(combine: Callable[[list[pl.Expr]], pl.Expr]) -> Build:
    return lambda terms, _, place: Term(combine([term.need("boolean") for term in terms]), "boolean", place)


def _comparison(name: str, compare: Callable[[Any, Any], Any]) -> Build:
    def build(terms: list[Term], _: list[Any], place: str) -> Term:
        for term in terms:
            if term.kind == "null":
                raise InvalidExpression(f"{term.place}: nothing compares with null: use isNull")
            term.need("boolean", "number", "integer", "text", "date", "timestamp")
        (one, other), _kind = unify(terms, name)
        return Term(compare(one, other), "boolean", place)

    return build


def _between(terms: list[Term], _: list[Any], place: str) -> Term:
    (value, low, high), _kind = unify(terms, "between")
    terms[0].need("number", "integer", "text", "date", "timestamp")
    return Term(value.is_between(low, high), "boolean", place)


def _arithmetic(calculate: Callable[[pl.Expr, pl.Expr], pl.Expr]) -> Build:
    def build(terms: list[Term], _: list[Any], place: str) -> Term:
        (one, other), kind = unify(terms, "arithmetic")
        for term in terms:
            term.need(*NUMBERS)
        if kind != "integer":
            return Term(calculate(terms[0].as_number(), terms[1].as_number()).fill_nan(None), "number", place)
        return Term(calculate(one.cast(pl.Int128), other.cast(pl.Int128)).cast(pl.Int64), "integer", place)

    return build


def _divide(terms: list[Term], _: list[Any], place: str) -> Term:
    one, other = (term.as_number() for term in terms)
    return Term(pl.when(other != 0).then(one / other).fill_nan(None), "number", place)


def _remainder(one: pl.Expr, other: pl.Expr) -> pl.Expr:
    """Return the remainder of the division, with the sign of the divisor; missing where the divisor is zero."""
    divisor = pl.when(other != 0).then(other)
    return one % divisor


def _absolute(terms: list[Term], _: list[Any], place: str) -> Term:
    expr = terms[0].need(*NUMBERS)
    if terms[0].kind == "integer":
        return Term(expr.cast(pl.Int128).abs().cast(pl.Int64), "integer", place)
    return Term(expr.abs(), terms[0].kind, place)


def _round(terms: list[Term], literals: list[Any], place: str) -> Term:
    digits = literals[0] if literals else 0
    if not isinstance(digits, int) or isinstance(digits, bool) or not 0 <= digits <= MAX_DIGITS:
        raise InvalidExpression(f"{place}.args[1]: must be a number of digits from 0 to {MAX_DIGITS}")
    expr = terms[0].need(*NUMBERS)
    rounded = expr if terms[0].kind == "integer" else expr.round(digits, mode="half_away_from_zero")
    return Term(rounded, terms[0].kind, place)


def _of_text(kind: Kind, change: Callable[[pl.Expr], pl.Expr]) -> Build:
    return lambda terms, _, place: Term(change(terms[0].need("text")), kind, place)


def _concat(terms: list[Term], _: list[Any], place: str) -> Term:
    return Term(pl.concat_str([term.need("text") for term in terms]), "text", place)


def _coalesce(terms: list[Term], _: list[Any], place: str) -> Term:
    exprs, kind = unify(terms, "coalesce")
    return Term(pl.coalesce(exprs), kind, place)


def _part(of: Callable[[pl.Expr], pl.Expr]) -> Build:
    return lambda terms, _, place: Term(of(terms[0].need(*MOMENTS)).cast(pl.Int64), "integer", place)


def _is_in(terms: list[Term], _: list[Any], place: str) -> Term:
    (value, *choices), kind = unify(terms, "in")
    literals = [term.literal for term in terms[1:]]
    if None not in literals and kind in DTYPES:
        return Term(value.is_in(pl.Series(literals, dtype=DTYPES[kind], strict=False).implode()), "boolean", place)
    return Term(pl.any_horizontal([value == choice for choice in choices]), "boolean", place)


def _if(terms: list[Term], _: list[Any], place: str) -> Term:
    (one, other), kind = unify(terms[1:], "if")
    return Term(pl.when(terms[0].need("boolean")).then(one).otherwise(other), kind, place)


def _cast(terms: list[Term], literals: list[Any], place: str) -> Term:
    return cast(terms[0], literals[0], place)


OPERATORS: dict[str, Operator] = {
    "and": Operator(_logical(pl.all_horizontal), 2, None),
    "or": Operator(_logical(pl.any_horizontal), 2, None),
    "not": Operator(lambda terms, _, place: Term(~terms[0].need("boolean"), "boolean", place), 1, 1),
    "=": Operator(_comparison("=", eq), 2, 2),
    "<>": Operator(_comparison("<>", ne), 2, 2),
    "<": Operator(_comparison("<", lt), 2, 2),
    "<=": Operator(_comparison("<=", le), 2, 2),
    ">": Operator(_comparison(">", gt), 2, 2),
    ">=": Operator(_comparison(">=", ge), 2, 2),
    "between": Operator(_between, 3, 3),
    "in": Operator(_is_in, 2, 2, second="list"),
    "like": Operator(_like, 2, 2, second="literal"),
    "isNull": Operator(lambda terms, _, place: Term(terms[0].expr.is_null(), "boolean", place), 1, 1),
    "+": Operator(_arithmetic(lambda one, other: one + other), 2, 2),
    "-": Operator(_arithmetic(lambda one, other: one - other), 2, 2),
    "*": Operator(_arithmetic(lambda one, other: one * other), 2, 2),
    "/": Operator(_divide, 2, 2),
    "%": Operator(_arithmetic(_remainder), 2, 2),
    "casei": Operator(_of_text("text", lambda text: text.str.to_lowercase()), 1, 1),
    "round": Operator(_round, 1, 2, second="literal"),
    "abs": Operator(_absolute, 1, 1),
    "lower": Operator(_of_text("text", lambda text: text.str.to_lowercase()), 1, 1),
    "upper": Operator(_of_text("text", lambda text: text.str.to_uppercase()), 1, 1),
    "trim": Operator(_of_text("text", lambda text: text.str.strip_chars()), 1, 1),
    "length": Operator(_of_text("integer", lambda text: text.str.len_chars().cast(pl.Int64)), 1, 1),
    "concat": Operator(_concat, 1, None),
    "coalesce": Operator(_coalesce, 1, None),
    "year": Operator(_part(lambda moment: moment.dt.year()), 1, 1),
    "month": Operator(_part(lambda moment: moment.dt.month()), 1, 1),
    "day": Operator(_part(lambda moment: moment.dt.day()), 1, 1),
    "cast": Operator(_cast, 2, 2, second="literal"),
    "if": Operator(_if, 3, 3),
}
