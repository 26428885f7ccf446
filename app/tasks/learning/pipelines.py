"""The matrix of numbers that a pipeline takes, and the pipelines of scikit-learn, with the estimator."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
import polars as pl

from app.tasks.data.engine import batch_rows, polars_errors
from app.tasks.learning.columns import MAX_NUMBER, Column
from app.tasks.learning.target import Kind

# Rows of one batch. At 20 columns a batch is 10 MiB of numbers, and scikit-learn makes two or three copies of it.
BATCH_ROWS = 65_536


def to_matrix(frame: pl.DataFrame, columns: Sequence[Column]) -> Any:
    """Return the columns' numbers as a float64 array of shape (rows, numbers).

    A missing value is NaN. So is one beyond 1e100, also an infinite one: scikit-learn squares it.
    """
    expressions = [expression for column in columns for expression in column.expressions()]
    numbers = frame.select(each.alias(str(index)) for index, each in enumerate(expressions))
    # Trees read one row after another: 10 % less time than with one column after another.
    matrix = numbers.to_numpy(order="c", writable=True)
    matrix[(matrix > MAX_NUMBER) | (matrix < -MAX_NUMBER)] = np.nan
    return matrix


def width(columns: Sequence[Column]) -> int:
    return sum(len(column.parts) for column in columns)


def places(columns: Sequence[Column]) -> dict[str, list[int]]:
    """Return the indexes of each column's numbers in the matrix."""
    found: dict[str, list[int]] = {}
    start = 0
    for column in columns:
        found[column.name] = [*range(start, start + len(column.parts))]
        start += len(column.parts)
    return found


def category_indexes(columns: Sequence[Column]) -> list[int]:
    """Return the indexes of the numbers that are codes of categories."""
    by_name = places(columns)
    return [index for column in columns if column.is_category for index in by_name[column.name]]


def batches(frame: pl.LazyFrame, names: Iterable[str], file: str) -> Iterator[tuple[pl.DataFrame, int]]:
    """Read the columns in the order of rows, in batches, each with the number of rows so far.

    The caller's thread takes each batch, so that an exception of a signal or of a progress report ends the reading.
    Raises UnusableData, which calls the file `file`, where its content is damaged.
    """
    rows = 0
    query = frame.select([*names])
    size = min(BATCH_ROWS, batch_rows(len(query.collect_schema())))
    reading = iter(query.collect_batches(chunk_size=size, maintain_order=True, engine="streaming"))
    while True:
        with polars_errors(f"{file} cannot be read: its content is damaged"):
            batch = next(reading, None)
        if batch is None:
            return
        if len(batch):
            rows += len(batch)
            yield batch, rows


# -- The pipelines of scikit-learn: what happens to numbers and categories, and the estimator --------------------------
# Gradient boosting takes missing values and codes of categories as they are. The linear models get missing numbers
# replaced by the median, numbers scaled, and one column for each category; a category that training did not see is a
# row of zeros there.

Model = Literal["gradient_boosting", "linear"]

# scikit-learn's default of 100 does not converge on all of its own data sets.
MAX_ITERATIONS = 1000


def make_pipeline(kind: Kind, model: Model, columns: Sequence[Column], rows: int, seed: int) -> Any:
    """Return a new pipeline for matrices of these columns. `rows`: of the whole training data."""
    from sklearn.pipeline import Pipeline

    if model == "gradient_boosting":
        return Pipeline([("model", _gradient_boosting(kind, columns, rows, seed))])
    return Pipeline([("columns", _prepare(columns)), ("model", _linear(kind, seed))])


def _gradient_boosting(kind: Kind, columns: Sequence[Column], rows: int, seed: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    estimator = HistGradientBoostingClassifier if kind == "classification" else HistGradientBoostingRegressor
    return estimator(
        categorical_features=category_indexes(columns) or None,
        # With scikit-learn's default of 20 a table of 30 rows makes a tree without a split.
        min_samples_leaf=min(20, max(3, rows // 50)),
        # Its default holds rows back above 10,000 rows, and fails where one class has a single row left.
        early_stopping=False,
        random_state=seed,
    )


def _linear(kind: Kind, seed: int) -> Any:
    from sklearn.linear_model import LogisticRegression, Ridge

    if kind == "classification":
        return LogisticRegression(max_iter=MAX_ITERATIONS, random_state=seed)
    return Ridge(random_state=seed)


def _prepare(columns: Sequence[Column]) -> Any:
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    categories = category_indexes(columns)
    numbers = [index for index in range(width(columns)) if index not in {*categories}]
    # A fold may have no value at all of a column: `keep_empty_features` keeps the number of columns.
    impute = SimpleImputer(strategy="median", keep_empty_features=True)
    steps = [
        ("numbers", Pipeline([("impute", impute), ("scale", StandardScaler())]), numbers),
        ("categories", OneHotEncoder(handle_unknown="ignore"), categories),
    ]
    return ColumnTransformer([step for step in steps if step[2]])
