"""Machine learning with scikit-learn: real data sets and models, on one core of the worker.

scikit-learn is imported in the functions that need it, because the API process imports this module for the catalogue.
"""

import platform
import time
from dataclasses import dataclass, field
from statistics import fmean, pstdev
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.celery_app import celery_app
from app.tasks.learning.estimators import Warned, check_choice, one_core

# -- The classifiers of `train_classifier`, with the hyperparameters that each accepts ---------------------------------
# Every hyperparameter that costs time or memory has an upper bound, so that no task can exhaust the worker. Names and
# defaults are scikit-learn's, except for `max_iter` of logistic regression and SVC.

Model = Literal["logistic_regression", "random_forest", "decision_tree", "svc", "knn"]


class Hyperparameters(BaseModel):
    """Strict: `"100"` is not a number, and an unknown name is an error."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class LogisticRegressionParameters(Hyperparameters):
    C: float = Field(1.0, gt=0, le=1e6)
    fit_intercept: bool = True
    class_weight: Literal["balanced"] | None = None
    # scikit-learn's default of 100 does not converge on all of its own data sets.
    max_iter: int = Field(1000, ge=1, le=100_000)


class RandomForestParameters(Hyperparameters):
    n_estimators: int = Field(100, ge=1, le=1000)
    criterion: Literal["gini", "entropy", "log_loss"] = "gini"
    max_depth: int | None = Field(None, ge=1, le=100)
    max_features: Literal["sqrt", "log2"] | None = "sqrt"
    min_samples_leaf: int = Field(1, ge=1, le=1000)
    class_weight: Literal["balanced", "balanced_subsample"] | None = None


class DecisionTreeParameters(Hyperparameters):
    criterion: Literal["gini", "entropy", "log_loss"] = "gini"
    max_depth: int | None = Field(None, ge=1, le=100)
    min_samples_leaf: int = Field(1, ge=1, le=1000)
    class_weight: Literal["balanced"] | None = None


class SVCParameters(Hyperparameters):
    C: float = Field(1.0, gt=0, le=1e6)
    kernel: Literal["linear", "poly", "rbf", "sigmoid"] = "rbf"
    degree: int = Field(3, ge=1, le=10)
    gamma: Literal["scale", "auto"] | float = "scale"
    class_weight: Literal["balanced"] | None = None
    # scikit-learn's default is unlimited; with some values of C and gamma the training would never end.
    max_iter: int = Field(1_000_000, ge=1, le=10_000_000)


class KNNParameters(Hyperparameters):
    n_neighbors: int = Field(5, ge=1, le=1000)
    weights: Literal["uniform", "distance"] = "uniform"
    metric: Literal["euclidean", "manhattan", "chebyshev"] = "euclidean"


HYPERPARAMETERS: dict[str, type[Hyperparameters]] = {
    "logistic_regression": LogisticRegressionParameters,
    "random_forest": RandomForestParameters,
    "decision_tree": DecisionTreeParameters,
    "svc": SVCParameters,
    "knn": KNNParameters,
}


def read_hyperparameters(model: Model, given: dict[str, Any] | None) -> dict[str, Any]:
    """Return all hyperparameters of the model: the given values and the defaults.

    Raises ValueError, which names each invalid hyperparameter.
    """
    check_choice("model", model, get_args(Model))
    accepted = HYPERPARAMETERS[model]
    try:
        return accepted.model_validate(given or {}).model_dump()
    except ValidationError as error:
        wrong = [_explain(list(problem["loc"]), problem["msg"], problem["type"]) for problem in error.errors()]
        known = ", ".join(accepted.model_fields)
        raise ValueError(f"parameters of {model}: {'; '.join(wrong)}. Accepted: {known}") from None


def _explain(loc: list[int | str], message: str, kind: str) -> str:
    name = loc[0] if loc else "parameters"
    return f"{name} is unknown" if kind == "extra_forbidden" else f"{name}: {message[:1].lower()}{message[1:]}"


def make_estimator(model: Model, parameters: dict[str, Any], random_state: int) -> Any:
    """Return a new estimator that uses one core. Estimators that measure distances get standardised features."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC
    from sklearn.tree import DecisionTreeClassifier

    match model:
        case "random_forest":
            return RandomForestClassifier(n_jobs=1, random_state=random_state, **parameters)
        case "decision_tree":
            return DecisionTreeClassifier(random_state=random_state, **parameters)
        case "logistic_regression":
            return make_pipeline(StandardScaler(), LogisticRegression(random_state=random_state, **parameters))
        case "svc":
            return make_pipeline(StandardScaler(), SVC(random_state=random_state, **parameters))
        case "knn":
            return make_pipeline(StandardScaler(), KNeighborsClassifier(n_jobs=1, **parameters))


# -- The task: its data, its training, and the figures of its result --------------------------------------------------

Dataset = Literal["iris", "wine", "breast_cancer", "digits"]

# The share of cross-validation in the progress; the final fit and its evaluation are the rest.
CROSS_VALIDATION_PERCENT = 90
DIGITS = 6


@celery_app.task(bind=True, name="app.tasks.model_tasks.train_classifier")
def train_classifier(
    self: Any,
    dataset: Dataset = "digits",
    model: Model = "logistic_regression",
    folds: Annotated[int, Field(ge=2, le=20)] = 5,
    test_size: Annotated[float, Field(ge=0.05, le=0.5)] = 0.25,
    random_state: Annotated[int, Field(ge=0, lt=2**32)] = 0,
    parameters: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Train a classifier on a data set that ships with scikit-learn, and measure its quality.

    Holds out `test_size` of the samples, cross-validates on the others in `folds` stratified folds, then fits the model
    to all of these others and evaluates it on the samples held out. The same `random_state` gives the same numbers.
    Reports progress and checks for cancellation after each fold.

    `parameters` are hyperparameters of the model: `C`, `fit_intercept`, `class_weight`, `max_iter` of
    logistic_regression; `n_estimators`, `criterion`, `max_depth`, `max_features`, `min_samples_leaf`, `class_weight` of
    random_forest; `criterion`, `max_depth`, `min_samples_leaf`, `class_weight` of decision_tree; `C`, `kernel`,
    `degree`, `gamma`, `class_weight`, `max_iter` of svc; `n_neighbors`, `weights`, `metric` of knn. An unknown one
    fails the task.

    The result holds accuracy, precision, recall and F1 per class, the confusion matrix (rows are the true classes,
    columns the predicted ones), mean and standard deviation over the folds, and every warning that scikit-learn gave.
    """
    started = time.monotonic()
    check_choice("dataset", dataset, get_args(Dataset))
    hyperparameters = read_hyperparameters(model, parameters)
    self.update_progress(0, {"stage": "loading"})
    data = _load(dataset, test_size, random_state)
    trainer = _Trainer(model, hyperparameters, random_state)
    with one_core():
        scores = _cross_validate(self, trainer, data, folds)
        self.update_progress(CROSS_VALIDATION_PERCENT, {"stage": "final fit"})
        held_out = _evaluate(trainer, data)
    return {
        "dataset": dataset,
        "model": model,
        "parameters": hyperparameters,
        "random_state": random_state,
        "classes": data.classes,
        "sizes": data.sizes(),
        "cross_validation": _summary(scores),
        **held_out,
        "warnings": [
            {"category": category, "message": message, "count": count}
            for (category, message), count in trainer.warned.counted.items()
        ],
        "versions": _versions(),
        "seconds": round(time.monotonic() - started, 3),
    }


@dataclass(frozen=True)
class _Data:
    """Features and labels (numpy arrays), split into a training part and a held-out part."""

    classes: list[str]
    features: Any
    labels: Any
    held_out_features: Any
    held_out_labels: Any

    def sizes(self) -> dict[str, int]:
        training, held_out = len(self.labels), len(self.held_out_labels)
        return {
            "samples": training + held_out,
            "features": int(self.features.shape[1]),
            "training": training,
            "held_out": held_out,
        }


def _load(dataset: Dataset, test_size: float, random_state: int) -> _Data:
    from sklearn import datasets
    from sklearn.model_selection import train_test_split

    bunch = getattr(datasets, f"load_{dataset}")()
    features, held_out_features, labels, held_out_labels = train_test_split(
        bunch.data, bunch.target, test_size=test_size, random_state=random_state, stratify=bunch.target
    )
    # The names of the digits are numbers.
    return _Data([str(name) for name in bunch.target_names], features, labels, held_out_features, held_out_labels)


@dataclass
class _Trainer:
    """Fits new estimators of one kind and collects their warnings."""

    model: Model
    parameters: dict[str, Any]
    random_state: int
    warned: Warned = field(default_factory=Warned)

    def predict(self, features: Any, labels: Any, unseen: Any) -> Any:
        """Fit an estimator to `features` and `labels`, and return its predictions for `unseen`."""
        with self.warned.collecting():
            estimator = make_estimator(self.model, self.parameters, self.random_state)
            return estimator.fit(features, labels).predict(unseen)


def _cross_validate(task: Any, trainer: _Trainer, data: _Data, folds: int) -> list[float]:
    """Return the accuracy of each fold. Raises TaskCancelled between two folds."""
    from sklearn.model_selection import StratifiedKFold

    splitter = StratifiedKFold(n_splits=folds, shuffle=True, random_state=trainer.random_state)
    accuracies: list[float] = []
    for fold, (seen, unseen) in enumerate(splitter.split(data.features, data.labels), start=1):
        predicted = trainer.predict(data.features[seen], data.labels[seen], data.features[unseen])
        accuracy = round(float((predicted == data.labels[unseen]).mean()), DIGITS)
        accuracies.append(accuracy)
        detail = {"stage": "cross-validation", "fold": fold, "folds": folds, "accuracy": accuracy}
        task.update_progress(CROSS_VALIDATION_PERCENT * fold // folds, detail)
    return accuracies


def _evaluate(trainer: _Trainer, data: _Data) -> dict[str, Any]:
    """Fit the model to the whole training part and evaluate it on the samples held out."""
    from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support

    truth = data.held_out_labels
    predicted = trainer.predict(data.features, data.labels, data.held_out_features)
    labels = list(range(len(data.classes)))
    # A class that is never predicted has no precision: 0 instead of NaN, which is not JSON.
    columns = precision_recall_fscore_support(truth, predicted, labels=labels, zero_division=0)
    rows = zip(data.classes, *(column.tolist() for column in columns), strict=True)
    return {
        "accuracy": round(float(accuracy_score(truth, predicted)), DIGITS),
        "per_class": [_class_metrics(*row) for row in rows],
        "confusion_matrix": {
            "labels": data.classes,
            "matrix": confusion_matrix(truth, predicted, labels=labels).tolist(),
        },
    }


def _class_metrics(name: str, precision: float, recall: float, f1: float, support: int) -> dict[str, Any]:
    return {
        "class": name,
        "precision": round(precision, DIGITS),
        "recall": round(recall, DIGITS),
        "f1": round(f1, DIGITS),
        "support": support,
    }


def _summary(accuracies: list[float]) -> dict[str, Any]:
    return {"folds": accuracies, "mean": round(fmean(accuracies), DIGITS), "std": round(pstdev(accuracies), DIGITS)}


def _versions() -> dict[str, str]:
    import numpy as np
    import sklearn

    return {"python": platform.python_version(), "numpy": np.__version__, "scikit_learn": sklearn.__version__}
