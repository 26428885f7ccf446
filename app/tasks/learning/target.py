"""The target of a model: classification or regression, its classes, and its numbers for scikit-learn."""

from collections.abc import Sequence
from typing import Any, Literal

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from app.tasks.learning.columns import MAX_NUMBER, kind_of, quoted, type_name

Kind = Literal["classification", "regression"]
TargetType = Literal["text", "boolean", "integer", "number"]

# Gradient boosting builds one tree for each class in each of its 100 rounds.
MAX_CLASSES = 50
# `kind="auto"`: whole numbers of at most so many different values are classes.
AUTO_CLASSES = 20

DTYPES: dict[TargetType, type[pl.DataType]] = {
    "text": pl.String,
    "boolean": pl.Boolean,
    "integer": pl.Int64,
    "number": pl.Float64,
}


class Target(BaseModel):
    """The column that a model predicts; `classes` of a classification are in the order of their codes."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    name: str
    kind: Kind
    data_type: TargetType
    classes: list[str | bool | int | float] = Field(default=[], max_length=MAX_CLASSES)

    @property
    def dtype(self) -> type[pl.DataType]:
        """The polars type of predictions."""
        return pl.Float64 if self.kind == "regression" else DTYPES[self.data_type]

    def class_names(self) -> list[str]:
        """Return the classes as words, as a file of JSON has them: `true`, not `True`."""
        return [str(each).lower() if isinstance(each, bool) else str(each) for each in self.classes]

    def encode(self, series: pl.Series) -> Any:
        """Return the codes of the classes (int64), or the numbers of a regression (float64), as a numpy array.

        The series has no missing values. Raises ValueError, which names them, where values are none of the classes.
        """
        if self.kind == "regression":
            return series.cast(pl.Float64).to_numpy()
        classes = pl.Series(self.classes, dtype=self.dtype)
        values = series.cast(self.dtype, strict=False)
        unknown = series.filter(~values.is_in(classes.implode()).fill_null(False)).unique().sort()
        if len(unknown):
            raise ValueError(
                f"target: column {self.name!r} has values that the model does not know: {quoted(unknown)}. "
                "Leave these rows out, or train a model with them"
            )
        return values.replace_strict(classes, pl.Series(range(len(classes)), dtype=pl.Int64)).to_numpy()

    def decode(self, codes: Any) -> pl.Series:
        """Return the classes of an array of codes, or the numbers of a regression, as a series of `dtype`."""
        if self.kind == "regression":
            return pl.Series(codes)
        return pl.Series(self.classes, dtype=self.dtype).gather(pl.Series(codes))


def present(name: str, dtype: pl.DataType) -> pl.Expr:
    """Return the condition of rows that have a target. NaN and infinity are no target."""
    column = pl.col(name)
    return column.is_not_null() & column.is_finite() if dtype.is_float() else column.is_not_null()


def make_target(series: pl.Series, kind: str, folds: int) -> Target:
    """Decide what the target is, and check that `folds` folds can be made of its rows.

    `series` is the target column without missing values. With `kind="auto"`, texts and truth values are classes, and
    so are whole numbers of at most 20 different values with at least `folds` rows for each on average. All other
    numbers are a regression.

    Raises ValueError, which says what to change: a type that cannot be predicted, too few rows, one class only, more
    than 50 classes, a class with fewer rows than folds.
    """
    target_type = _type_of(series)
    if len(series) < 2 * folds:
        raise ValueError(
            f"{len(series)} rows have a value of the target {series.name!r}, fewer than the {2 * folds} that {folds} "
            "folds need: give a file with more rows, or fewer folds"
        )
    decided = _decide(series, target_type, folds) if kind == "auto" else kind
    if decided == "regression":
        return _regression(series, target_type)
    return _classification(series, target_type, folds)


def _type_of(series: pl.Series) -> TargetType:
    if series.dtype.is_integer():
        return "integer"
    kind = kind_of(series.dtype)
    if kind not in ("text", "boolean", "number"):
        raise ValueError(
            f"target: column {series.name!r} is {type_name(series.dtype)}, and a target is text, boolean or number"
        )
    return kind


def _decide(series: pl.Series, target_type: TargetType, folds: int) -> Kind:
    if target_type in ("text", "boolean"):
        return "classification"
    if target_type == "number" and not (series.cast(pl.Float64).floor() == series.cast(pl.Float64)).all():
        return "regression"
    distinct = series.n_unique()
    return "classification" if distinct <= AUTO_CLASSES and distinct * folds <= len(series) else "regression"


def _regression(series: pl.Series, target_type: TargetType) -> Target:
    if target_type in ("text", "boolean"):
        raise ValueError(f"target: column {series.name!r} is {target_type}, and a regression needs numbers")
    if series.cast(pl.Float64).is_between(-MAX_NUMBER, MAX_NUMBER).not_().any():
        raise ValueError(
            f"target: column {series.name!r} has numbers beyond {MAX_NUMBER:g}: scale them or leave them out"
        )
    if series.n_unique() == 1:
        raise ValueError(f"target: all values of column {series.name!r} are equal, so there is nothing to learn")
    return Target(name=series.name, kind="regression", data_type=target_type)


def _classification(series: pl.Series, target_type: TargetType, folds: int) -> Target:
    values = series.cast(DTYPES[target_type], strict=False)
    if values.null_count():
        raise ValueError(f"target: column {series.name!r} has whole numbers above 2**63: classes are smaller, or texts")
    distinct = values.n_unique()
    if distinct == 1:
        raise ValueError(
            f"target: all rows are of one class, {values[0]!r}: a classification needs two or more, and rows of each"
        )
    if distinct > MAX_CLASSES:
        raise ValueError(
            f"target: column {series.name!r} has {distinct} different values, and a classification takes at most "
            f"{MAX_CLASSES} classes: group them, or train a regression if they are numbers"
        )
    classes = values.unique().sort().to_list()
    _check_folds(dict(zip(*_counts(values), strict=True)), folds)
    return Target(name=series.name, kind="classification", data_type=target_type, classes=classes)


def _counts(values: pl.Series) -> tuple[Sequence[Any], Sequence[int]]:
    counted = values.value_counts(sort=True)
    return counted[:, 0].to_list(), counted[:, 1].to_list()


def _check_folds(counts: dict[Any, int], folds: int) -> None:
    rare = {value: count for value, count in counts.items() if count < folds}
    if rare:
        fewest = min(rare.values())
        less = f" or {fewest} folds" if fewest > 1 else ""
        raise ValueError(
            f"target: classes with fewer rows than the {folds} folds: {quoted(rare)} (the smallest has {fewest}). "
            f"Give more rows of them{less}, or leave their rows out"
        )
