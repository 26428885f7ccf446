"""The classifiers of `train_classifier`, with the hyperparameters that each accepts.

Every hyperparameter that costs time or memory has an upper bound, so that no task can exhaust the worker. Names and
defaults are scikit-learn's, except for `max_iter` of logistic regression and SVC.
"""

from collections.abc import Sequence
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

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


def check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Raise ValueError unless `value` is one of `choices`.

    Needed because a plain `.delay()` skips the signature's check.
    """
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, not {value!r}")


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
