"""The metrics of predictions, by scikit-learn's names.

Classification: `accuracy`, `balanced_accuracy`, `f1_macro`, and `roc_auc` (two classes) or `roc_auc_ovr` (more: each
class against the others, the mean over classes). Regression: `r2`, `mean_absolute_error`, `root_mean_squared_error`.
A metric that the rows do not define is left out, such as `roc_auc` where all rows are of one class.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev
from typing import Any

import numpy as np

from app.tasks.learning.target import Kind

DIGITS = 6
# What permutation importance is the loss of.
SCORE: dict[Kind, str] = {"classification": "accuracy", "regression": "r2"}


@dataclass(frozen=True)
class Predicted:
    """Predictions: codes of classes or numbers, and for a classification the probability of each class."""

    values: Any
    probabilities: Any = None

    def of_the_predicted(self) -> Any:
        """Return the probability of the predicted class, for each row."""
        return np.take_along_axis(self.probabilities, self.values[:, None], axis=1)[:, 0]


def predict_rows(pipeline: Any, kind: Kind, matrix: Any) -> Predicted:
    """Predict each row of the matrix."""
    if kind == "regression":
        return Predicted(pipeline.predict(matrix))
    # `pipeline.predict` would compute the same once more.
    probabilities = pipeline.predict_proba(matrix)
    return Predicted(probabilities.argmax(axis=1), probabilities)


def joined(parts: Sequence[Predicted]) -> Predicted:
    """Return the predictions of all batches as those of one table."""
    values = np.concatenate([part.values for part in parts])
    if parts[0].probabilities is None:
        return Predicted(values)
    return Predicted(values, np.concatenate([part.probabilities for part in parts]))


def measure(kind: Kind, truth: Any, predicted: Predicted) -> dict[str, float]:
    """Return the metrics that are defined, rounded to six decimals. `truth` has codes of classes or numbers."""
    found = _of_classes(truth, predicted) if kind == "classification" else _of_numbers(truth, predicted.values)
    # Squares of numbers above 1e154 are infinite, which JSON is not.
    return {name: round(float(value), DIGITS) for name, value in found.items() if np.isfinite(value)}


def _of_classes(truth: Any, predicted: Predicted) -> dict[str, Any]:
    from sklearn.metrics import accuracy_score, f1_score, recall_score

    # Balanced accuracy is the mean recall of the classes that have rows; f1_macro counts predicted classes too.
    there = np.unique(truth)
    return {
        "accuracy": accuracy_score(truth, predicted.values),
        "balanced_accuracy": recall_score(truth, predicted.values, labels=there, average="macro", zero_division=0),
        "f1_macro": f1_score(truth, predicted.values, average="macro", zero_division=0),
        **_roc_auc(truth, predicted.probabilities, len(there)),
    }


def _roc_auc(truth: Any, probabilities: Any, there: int) -> dict[str, Any]:
    from sklearn.metrics import roc_auc_score

    classes = probabilities.shape[1]
    if there < classes:
        return {}
    if classes == 2:  # noqa: PLR2004 - scikit-learn takes the second class as the positive one
        return {"roc_auc": roc_auc_score(truth, probabilities[:, 1])}
    return {"roc_auc_ovr": roc_auc_score(truth, probabilities, multi_class="ovr", labels=[*range(classes)])}


def _of_numbers(truth: Any, values: Any) -> dict[str, Any]:
    from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

    defined = len(truth) > 1 and truth.min() < truth.max()
    return {
        **({"r2": r2_score(truth, values)} if defined else {}),
        "mean_absolute_error": mean_absolute_error(truth, values),
        "root_mean_squared_error": root_mean_squared_error(truth, values),
    }


def summary(folds: Sequence[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Return mean and standard deviation over the folds of each metric that all folds have."""
    names = [name for name in folds[0] if all(name in fold for fold in folds)]
    return {name: mean_and_std([fold[name] for fold in folds]) for name in names}


def mean_and_std(values: Sequence[float]) -> dict[str, float]:
    return {"mean": round(fmean(values), DIGITS), "std": round(pstdev(values), DIGITS)}
