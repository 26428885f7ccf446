"""The columns that a model learns from: which of a table, their kinds, and the numbers that each becomes.

A kind covers the types that files of different formats give to one column: a model that was trained on a CSV file
takes a Parquet file with 32-bit floats.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from app.core.nearest import did_you_mean

ColumnKind = Literal["number", "boolean", "text", "date", "datetime", "time"]

# A category is a number below 255 in a histogram of gradient boosting, whose last bin is for missing values.
MAX_CATEGORIES = 255

MAX_NUMBER = 1e100  # whose square is a float

UNKNOWN = -1.0  # the code of a category that training did not see; gradient boosting takes it as missing
CALENDAR = ("year", "month", "day", "weekday")
KINDS: dict[type[pl.DataType], ColumnKind] = {
    pl.Boolean: "boolean",
    pl.String: "text",
    pl.Categorical: "text",
    pl.Enum: "text",
    pl.Date: "date",
    pl.Datetime: "datetime",
    pl.Time: "time",
}
PARTS: dict[ColumnKind, tuple[str, ...]] = {"date": CALENDAR, "datetime": (*CALENDAR, "hour")}


class Column(BaseModel):
    """A column by its name in the file; `categories` are the known values of a text column, in the order of codes."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    name: str
    kind: ColumnKind
    categories: list[str] = Field(default=[], max_length=MAX_CATEGORIES)

    @property
    def is_category(self) -> bool:
        return self.kind == "text"

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of its numbers: one, or one for each part of a date."""
        return tuple(f"{self.name}.{part}" for part in PARTS.get(self.kind, ())) or (self.name,)

    def expressions(self) -> list[pl.Expr]:
        """Return one expression (Float64) for each of `parts`. A missing value becomes null."""
        column = pl.col(self.name)
        match self.kind:
            case "number" | "boolean":
                return [column.cast(pl.Float64)]
            case "time":
                return [column.cast(pl.Int64).cast(pl.Float64) / 1e9]
            case "text":
                return [self._codes(column.cast(pl.String))]
            case "date" | "datetime":
                return [getattr(column.dt, part)().cast(pl.Float64).alias(f"part {part}") for part in PARTS[self.kind]]

    def _codes(self, column: pl.Expr) -> pl.Expr:
        if not self.categories:
            return pl.when(column.is_not_null()).then(pl.lit(UNKNOWN))
        codes = [float(code) for code in range(len(self.categories))]
        known = column.replace_strict(self.categories, codes, default=UNKNOWN, return_dtype=pl.Float64)
        return pl.when(column.is_not_null()).then(known)


def kind_of(dtype: pl.DataType) -> ColumnKind | None:
    """Return the kind of a polars type; None for types that no model takes, such as lists and binary data."""
    if dtype.is_numeric():
        return "number"
    return KINDS.get(dtype.base_type())


def type_name(dtype: pl.DataType) -> str:
    """Return the kind as a word for an error, or the name of a type that has none."""
    return kind_of(dtype) or str(dtype).lower()


def quoted(names: Any, most: int = 10) -> str:
    """Return the names for an error: the first ones, then how many more there are."""
    listed = [repr(name) for name in names]
    more = len(listed) - most
    return ", ".join(listed[:most]) + (f" and {more} more" if more > 0 else "")


# -- Which columns of a table a model learns from, and why the others are left out -------------------------------------
# Without a list of features these are left out, each with its reason in words: columns of one value; texts of too many
# different values (names, identifiers) or of long values; types that are no numbers, texts, truth values, dates or
# times. A column that the caller names is an error instead.

MAX_FEATURES = 1000
MAX_TEXT = 200  # characters of a category: longer ones are sentences
# A text column with fewer rows for each value on average is a name or an identifier, of which no value comes again.
MIN_ROWS_A_VALUE = 2


@dataclass(frozen=True)
class Selection:
    """The columns to learn from, and the reason for each column that is left out."""

    columns: list[Column]
    left_out: dict[str, str]


def check_features(schema: pl.Schema, target: str, features: Sequence[str] | None) -> list[str]:
    """Return the names of the columns to read as features: the given ones, else all but the target.

    Raises ValueError, which says what to change, if a name is no column or the features cannot be used together.
    """
    if target not in schema:
        hint = did_you_mean(target, schema.names())
        raise ValueError(f"target: the file has no column {target!r}{hint}. Its columns are {quoted(schema.names())}")
    names = [name for name in schema.names() if name != target] if features is None else [*features]
    check_names(names, schema, "features")
    if target in names:
        raise ValueError(f"features: {target!r} is the target, which a model cannot learn from")
    if not names:
        raise ValueError("the file needs at least one column beside the target to learn from")
    if len(names) > MAX_FEATURES:
        raise ValueError(f"a model takes at most {MAX_FEATURES} columns, not {len(names)}: name the ones in features")
    return names


def check_names(names: Sequence[str], schema: pl.Schema, parameter: str) -> None:
    """Raise ValueError, which begins with the parameter, if a name is no column or is there twice."""
    for name in names:
        if name not in schema:
            raise ValueError(f"{parameter}: the file has no column {name!r}{did_you_mean(name, schema.names())}")
    if len({*names}) < len(names):
        raise ValueError(f"{parameter}: a column is named twice")


def select_columns(frame: pl.DataFrame, names: Sequence[str], *, named: bool) -> Selection:
    """Return the usable ones of the columns with their categories.

    Raises ValueError if none is usable, or if one is not and the caller named it (`named`).
    """
    columns: list[Column] = []
    left_out: dict[str, str] = {}
    for name in names:
        found = _usable_column(frame[name])
        if isinstance(found, Column):
            columns.append(found)
        else:
            left_out[name] = found
    if named and left_out:
        raise ValueError(f"features: {_reasons(left_out)}. Leave them out of features")
    if not columns:
        raise ValueError(f"no column is left to learn from: {_reasons(left_out)}")
    return Selection(columns, left_out)


def _usable_column(series: pl.Series) -> Column | str:
    """Return the column, or the reason why a model cannot learn from it."""
    kind = kind_of(series.dtype)
    if kind is None:
        return f"has the type {type_name(series.dtype)}"
    if series.null_count() == len(series):
        return "is empty"
    if series.n_unique() == 1:
        return "has one value"
    return _usable_category(series.cast(pl.String)) if kind == "text" else Column(name=series.name, kind=kind)


def _usable_category(series: pl.Series) -> Column | str:
    texts = series.drop_nulls()
    values = texts.unique().sort()
    if len(values) > MAX_CATEGORIES:
        return f"has {len(values)} different texts, more than {MAX_CATEGORIES}"
    if len(texts) < MIN_ROWS_A_VALUE * len(values):
        return f"has {len(values)} different texts in {len(texts)} rows, as a name or an identifier has"
    if (values.str.len_chars() > MAX_TEXT).any():
        return f"has texts of more than {MAX_TEXT} characters"
    return Column(name=series.name, kind="text", categories=values.to_list())


def _reasons(left_out: dict[str, str], most: int = 10) -> str:
    listed = [f"{name!r} {reason}" for name, reason in left_out.items()]
    more = len(listed) - most
    return "; ".join(listed[:most]) + (f"; and {more} more" if more > 0 else "")
