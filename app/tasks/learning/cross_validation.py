"""Cross-validation: each row is predicted by a model that was trained without it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from app.tasks.learning.columns import Column
from app.tasks.learning.importance import permutation_losses
from app.tasks.learning.measures import SCORE, Predicted, measure, predict_rows
from app.tasks.learning.pipelines import Model, Warned, make_pipeline
from app.tasks.learning.target import Kind

Report = Callable[[float | None, Any], None]
# The share of cross-validation in the progress; the model of all rows is the rest.
CROSS_VALIDATION_PERCENT = 90


@dataclass
class Trainer:
    """Fits new pipelines of one model and collects their warnings."""

    kind: Kind
    model: Model
    columns: list[Column]
    rows: int
    seed: int
    warned: Warned = field(default_factory=Warned)

    def fit(self, matrix: Any, truth: Any) -> Any:
        pipeline = make_pipeline(self.kind, self.model, self.columns, self.rows, self.seed)
        with self.warned.collecting():
            return pipeline.fit(_without_empty_columns(matrix), truth)


@dataclass
class Scores:
    """The metrics and the losses of permutation of each fold; for each row its prediction by the fold without it."""

    predicted: Predicted
    metrics: list[dict[str, float]] = field(default_factory=list)
    losses: list[dict[str, float]] = field(default_factory=list)


def _without_empty_columns(matrix: Any) -> Any:
    """Return the matrix with a 0 in each column that has no value in these rows.

    Gradient boosting of scikit-learn 1.9 fails at such a column. It cannot split off one row with a value.
    """
    empty = np.isnan(matrix).all(axis=0)
    if not empty.any():
        return matrix
    filled = matrix.copy()
    filled[0, empty] = 0.0
    return filled


def cross_validate(trainer: Trainer, matrix: Any, truth: Any, folds: int, report: Report) -> Scores:
    """Train with all folds but one and measure on this one, for each of them. Calls `report` after each."""
    from sklearn.model_selection import KFold, StratifiedKFold

    splitter = StratifiedKFold if trainer.kind == "classification" else KFold
    parts = splitter(folds, shuffle=True, random_state=trainer.seed).split(matrix, truth)
    scores = Scores(Predicted(np.empty_like(truth)))
    for fold, (seen, unseen) in enumerate(parts, start=1):
        pipeline = trainer.fit(matrix[seen], truth[seen])
        with trainer.warned.collecting():
            predicted = predict_rows(pipeline, trainer.kind, matrix[unseen])
            scores.metrics.append(measure(trainer.kind, truth[unseen], predicted))
            random = np.random.default_rng([trainer.seed, fold])
            losses = permutation_losses(pipeline, trainer.kind, trainer.columns, matrix[unseen], truth[unseen], random)
        scores.losses.append(losses)
        scores.predicted.values[unseen] = predicted.values
        name = SCORE[trainer.kind]
        detail = {"stage": "cross-validation", "fold": fold, "folds": folds, name: scores.metrics[-1].get(name)}
        report(CROSS_VALIDATION_PERCENT * fold // folds, detail)
    return scores
