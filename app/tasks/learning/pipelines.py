"""The pipelines of scikit-learn: what happens to numbers and categories, and the estimator.

Gradient boosting takes missing values and codes of categories as they are. The linear models get missing numbers
replaced by the median, numbers scaled, and one column for each category; a category that training did not see is a row
of zeros there.
"""

import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

from app.tasks.learning.columns import Column
from app.tasks.learning.matrix import category_indexes, width
from app.tasks.learning.target import Kind

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


class Warned:
    """Collects the warnings of scikit-learn, with the number of times that each came."""

    def __init__(self) -> None:
        self._counted: Counter[tuple[str, str]] = Counter()

    @contextmanager
    def collecting(self) -> Iterator[None]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield
        self._counted.update((warning.category.__name__, str(warning.message)) for warning in caught)

    def texts(self) -> list[str]:
        return [
            f"{category}: {message}" + (f" ({count} times)" if count > 1 else "")
            for (category, message), count in self._counted.items()
        ]


def one_core() -> Any:
    """Limit BLAS and OpenMP to one core, because a worker slot is one core. They ignore `n_jobs`."""
    # Only libraries that are loaded are limited. Two threads on one free core took ten times as long as one.
    import sklearn.ensemble
    import sklearn.linear_model  # noqa: F401 - see above
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    return threadpool_limits(limits=1)
