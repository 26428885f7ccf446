"""The columns that a model learns from: their kinds, and the numbers that each becomes.

A kind covers the types that files of different formats give to one column: a model that was trained on a CSV file
takes a Parquet file with 32-bit floats.
"""

from typing import Any, Literal

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

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
