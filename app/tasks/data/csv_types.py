"""The types of the columns of a CSV file, of which every value is text.

A column has a type only if every one of its values, to the last row, is written as that type writes it. An integer is a
text that the integer gives back: `007`, `+49` and integers beyond 64 bits stay text, so no digit is lost. Dates and
times are those of ISO 8601 alone; a time with an offset becomes UTC. The type is guessed from the first rows, and the
conversion of the whole file fails where a later value does not fit.
"""

import re
from dataclasses import dataclass
from typing import Literal

import polars as pl

Kind = Literal["text", "integer", "number", "boolean", "date", "time"]

SAMPLE_ROWS = 10_000
SAMPLE_CELLS = 2_000_000
# Columns: polars takes some 40 KB for the check of each.
CHECKED_TOGETHER = 2000

INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,18})")
NUMBER = re.compile(r"-?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?|-?(nan|NaN|NAN|inf|Inf|INF)")
DATE = re.compile(r"\d{4}-\d\d-\d\d")
TIME = re.compile(r"(\d{4}-\d\d-\d\d([T ])\d\d:\d\d(:\d\d)?)(?:\.\d{1,6})?(Z|[+-]\d\d:?\d\d)?")
# Leading zeros and signs, and more digits than a number of 64 bits keeps.
NOT_A_NUMBER = r"^(?:\+|-?0[0-9]|-?[0-9]{16})"
DATE_LENGTH = len("2024-01-31")
TRUE, FALSE = ["true", "True", "TRUE"], ["false", "False", "FALSE"]
# No type reads this, so that the conversion of a value that does not fit fails.
UNFIT = "!"


@dataclass(frozen=True)
class ColumnType:
    """The type of a column. Of times, `pattern` is how they are written up to the fraction, `shape` a regex."""

    kind: Kind
    pattern: str = ""
    shape: str = ""

    def fits(self, text: pl.Expr) -> pl.Expr:
        """Return whether each value is missing or written as this type writes it."""
        return text.is_null() | (self._has_shape(text) & self._read(text, strict=False).is_not_null())

    def convert(self, text: pl.Expr) -> pl.Expr:
        """Return the values in this type. The evaluation fails if one does not fit."""
        if self.kind == "text":
            return text
        shaped = pl.when(text.is_null() | self._has_shape(text)).then(text).otherwise(pl.lit(UNFIT))
        return self._read(shaped, strict=True)

    def _has_shape(self, text: pl.Expr) -> pl.Expr:
        """Return a check beyond the reading itself: polars reads `007` as an integer, and 2024-1-1 as a date."""
        match self.kind:
            case "integer":
                zeros = text.str.starts_with("0") & (text.str.len_bytes() > 1)
                return ~(zeros | text.str.starts_with("-0") | text.str.starts_with("+"))
            case "number":
                return ~text.str.contains(NOT_A_NUMBER)
            case "date":
                return text.str.len_bytes() == DATE_LENGTH
            case "time":
                return text.str.contains(self.shape)
            case _:
                return pl.lit(True)

    def _read(self, text: pl.Expr, *, strict: bool) -> pl.Expr:
        match self.kind:
            case "integer":
                return text.cast(pl.Int64, strict=strict)
            case "number":
                return text.cast(pl.Float64, strict=strict)
            case "boolean":
                digit = pl.when(text.is_in(TRUE)).then(pl.lit("1")).when(text.is_in(FALSE)).then(pl.lit("0"))
                return digit.otherwise(_unfit(text)).cast(pl.Int8, strict=strict).cast(pl.Boolean)
            case "date":
                return text.str.to_date("%Y-%m-%d", strict=strict)
            case "time":
                return self._read_time(text, strict=strict)
            case _:
                return text

    def _read_time(self, text: pl.Expr, *, strict: bool) -> pl.Expr:
        if self.pattern.endswith("z"):
            return text.str.to_datetime(self.pattern, strict=strict, time_unit="us")
        # polars takes four times as long with the fraction in the pattern.
        length = len("2024-01-31T12:00:00") if self.pattern.endswith("S") else len("2024-01-31T12:00")
        moment = text.str.head(length).str.to_datetime(self.pattern, strict=strict, time_unit="us")
        digits = text.str.slice(length + 1, 6).str.pad_end(6, "0").cast(pl.Int64, strict=strict)
        return moment + pl.duration(microseconds=digits)


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
        return [_time(*found.groups()[1:]), TEXT]
    return [TEXT]


def guess(frame: pl.LazyFrame, names: list[str]) -> dict[str, ColumnType]:
    """Return the type of each column in the first rows; of a column that has no value there, in its first value."""
    rows = max(100, min(SAMPLE_ROWS, SAMPLE_CELLS // max(1, len(names))))
    sample = frame.head(rows).collect(engine="streaming").lazy()
    firsts = _firsts(sample, names)
    if late := [name for name in names if firsts[name] is None]:
        firsts |= _firsts(frame, late)
    return _narrowest(
        sample, {name: [TEXT] if first is None else alternatives(first) for name, first in firsts.items()}
    )


def settle(frame: pl.LazyFrame, guessed: dict[str, ColumnType]) -> dict[str, ColumnType]:
    """Return the type that all values of each column have, of those that its guessed type can turn out to be."""
    wider = {"integer": [ColumnType("number")]}
    return _narrowest(frame, {name: [each, *wider.get(each.kind, []), TEXT] for name, each in guessed.items()})


def _firsts(frame: pl.LazyFrame, names: list[str]) -> dict[str, str | None]:
    return frame.select(pl.col(names).drop_nulls().first()).collect(engine="streaming").row(0, named=True)


def _narrowest(frame: pl.LazyFrame, choices: dict[str, list[ColumnType]]) -> dict[str, ColumnType]:
    """Return of each column the first of its types that all values of the frame have. The last one is text."""
    found: dict[str, ColumnType] = {}
    while choices:
        found |= {name: types[0] for name, types in choices.items()}
        checked = [name for name in choices if found[name] != TEXT]
        fits: dict[str, bool] = {}
        for start in range(0, len(checked), CHECKED_TOGETHER):
            part = checked[start : start + CHECKED_TOGETHER]
            checks = [found[name].fits(pl.col(name)).all().alias(name) for name in part]
            fits |= frame.select(checks).collect(engine="streaming").row(0, named=True)
        choices = {name: choices[name][1:] for name in checked if not fits[name]}
    return found


def _unfit(text: pl.Expr) -> pl.Expr:
    return pl.when(text.is_not_null()).then(pl.lit(UNFIT))


def _time(between: str, seconds: str | None, offset: str | None) -> ColumnType:
    pattern = f"%Y-%m-%d{between}%H:%M{'' if seconds is None else ':%S'}"
    clock = r"\d\d:\d\d" if seconds is None else r"\d\d:\d\d:\d\d(?:\.\d{1,6})?"
    shape = rf"^\d{{4}}-\d\d-\d\d{between}{clock}"
    if offset is None:
        return ColumnType("time", pattern, f"{shape}$")
    fraction = "" if seconds is None else "%.f"
    return ColumnType("time", f"{pattern}{fraction}%#z", rf"{shape}(?:Z|[+-]\d\d:?\d\d)$")
