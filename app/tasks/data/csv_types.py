"""The types of the columns of a CSV file, of which every value is text.

A column has a type only if every one of its values, to the last row, is written as that type writes it. An integer is a
text that the integer gives back: `007`, `+49` and what exceeds 64 bits stay text, so no digit is lost. Dates and times
are those of ISO 8601 alone; a time with an offset becomes UTC. The type is guessed from the first rows, and the
conversion of the whole file fails where a later value does not fit.
"""

import re
from dataclasses import dataclass
from typing import Literal

import polars as pl

Kind = Literal["text", "integer", "number", "boolean", "date", "time"]

SAMPLE_ROWS = 10_000
SAMPLE_CELLS = 2_000_000

INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,18})")
NUMBER = re.compile(r"-?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?|-?(nan|NaN|NAN|inf|Inf|INF)")
TIME = re.compile(r"\d{4}-\d\d-\d\d([T ])\d\d:\d\d(:\d\d(?:\.\d{1,6})?)?(Z|[+-]\d\d:?\d\d)?")
DATE = re.compile(r"\d{4}-\d\d-\d\d")
# Leading zeros and signs, and more digits than a number of 64 bits keeps.
NOT_A_NUMBER = r"^[+]|^-?0[0-9]|^-?[0-9]{16}"
TRUE, FALSE = ["true", "True", "TRUE"], ["false", "False", "FALSE"]
# No type reads this, so that the conversion of a value that does not fit fails.
UNFIT = "!"


@dataclass(frozen=True)
class ColumnType:
    """The type of a column; `pattern` is how its times are written."""

    kind: Kind
    pattern: str = ""

    def fits(self, text: pl.Expr) -> pl.Expr:
        """Return whether each value is missing or written as this type writes it."""
        match self.kind:
            case "integer":
                return text.cast(pl.Int64, strict=False).cast(pl.String).eq_missing(text)
            case "number":
                fitting = text.cast(pl.Float64, strict=False).is_not_null() & ~text.str.contains(NOT_A_NUMBER)
            case "boolean":
                fitting = text.is_in(TRUE + FALSE)
            case "date":
                fitting = (text.str.len_bytes() == len("2024-01-01")) & self._moment(text, strict=False).is_not_null()
            case "time":
                fitting = text.str.contains(f"^(?:{TIME.pattern})$") & self._moment(text, strict=False).is_not_null()
            case _:
                fitting = pl.lit(True)
        return text.is_null() | fitting

    def convert(self, text: pl.Expr) -> pl.Expr:
        """Return the values in this type. The evaluation fails if one does not fit."""
        if self.kind == "text":
            return text
        checked = pl.when(self.fits(text)).then(text).otherwise(pl.lit(UNFIT))
        match self.kind:
            case "integer":
                return checked.cast(pl.Int64)
            case "number":
                return checked.cast(pl.Float64)
            case "boolean":
                digit = pl.when(text.is_in(TRUE)).then(pl.lit("1")).when(text.is_in(FALSE)).then(pl.lit("0"))
                return digit.otherwise(checked).cast(pl.Int8).cast(pl.Boolean)
            case _:
                return self._moment(checked, strict=True)

    def _moment(self, text: pl.Expr, *, strict: bool) -> pl.Expr:
        if self.kind == "date":
            return text.str.to_date("%Y-%m-%d", strict=strict)
        return text.str.to_datetime(self.pattern, strict=strict, time_unit="us")


TEXT = ColumnType("text")


def alternatives(value: str) -> list[ColumnType]:
    """Return the types that a column with this value can have, the narrowest first; the last one is text."""
    if INTEGER.fullmatch(value):
        return [ColumnType("integer"), ColumnType("number"), TEXT]
    if NUMBER.fullmatch(value):
        return [ColumnType("number"), TEXT]
    if value in TRUE + FALSE:
        return [ColumnType("boolean"), TEXT]
    if DATE.fullmatch(value):
        return [ColumnType("date"), TEXT]
    if found := TIME.fullmatch(value):
        between, seconds, offset = found.groups()
        pattern = f"%Y-%m-%d{between}%H:%M{'' if seconds is None else ':%S%.f'}{'' if offset is None else '%#z'}"
        return [ColumnType("time", pattern), TEXT]
    return [TEXT]


def guess(frame: pl.LazyFrame, names: list[str]) -> dict[str, ColumnType]:
    """Return the type of each column in the first rows; of a column that has no value there, in its first value."""
    rows = max(100, min(SAMPLE_ROWS, SAMPLE_CELLS // max(1, len(names))))
    sample = frame.head(rows).collect(engine="streaming")
    found = {name: _of_values(sample.get_column(name)) for name in names}
    late = [name for name in names if sample.get_column(name).null_count() == sample.height] if sample.height else []
    if late:
        firsts = frame.select(pl.col(late).drop_nulls().first()).collect(engine="streaming")
        found |= {name: _of_values(firsts.get_column(name)) for name in late}
    return found


def settle(frame: pl.LazyFrame, guessed: dict[str, ColumnType]) -> dict[str, ColumnType]:
    """Return the type that all values of each column have, of those that its guessed type can turn out to be."""
    choices = {name: _wider(each) for name, each in guessed.items() if each != TEXT}
    checks = [
        each.fits(pl.col(name)).all().alias(f"{at}:{number}")
        for at, (name, types) in enumerate(choices.items())
        for number, each in enumerate(types)
    ]
    fitting = frame.select(checks).collect(engine="streaming").row(0, named=True) if checks else {}
    settled = dict(guessed)
    for at, (name, types) in enumerate(choices.items()):
        settled[name] = next((each for number, each in enumerate(types) if fitting[f"{at}:{number}"]), TEXT)
    return settled


def _of_values(values: pl.Series) -> ColumnType:
    known = values.drop_nulls()
    if known.is_empty():
        return TEXT
    for each in alternatives(known[0])[:-1]:
        if pl.select(each.fits(pl.lit(known)).all()).item():
            return each
    return TEXT


def _wider(guessed: ColumnType) -> list[ColumnType]:
    return [guessed, ColumnType("number")] if guessed.kind == "integer" else [guessed]
