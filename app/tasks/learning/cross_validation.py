"""Cross-validation: each row is predicted by a model that was trained without it, and each column permuted.

First comes permutation importance: how much worse predictions get when one column's values change places between rows.
L. Breiman, Random Forests, Machine Learning 45 (2001), section 10; here on rows that the model was not trained with.
scikit-learn's `permutation_importance` would give a date's year and month apart; here a column is permuted as a whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from app.tasks.data.engine import Report, run
from app.tasks.data.tables import Data
from app.tasks.learning.columns import Column
from app.tasks.learning.estimators import Warned
from app.tasks.learning.measures import SCORE, Predicted, mean_and_std, measure, predict_rows
from app.tasks.learning.pipelines import Model, make_pipeline, places
from app.tasks.learning.target import Kind

# Rows of a fold that are used: more change the third digit, and cost as many seconds as the training.
MAX_PERMUTED_ROWS = 5000


def permutation_losses(
    pipeline: Any, kind: Kind, columns: Sequence[Column], matrix: Any, truth: Any, random: np.random.Generator
) -> dict[str, float]:
    """Return for each column the loss of accuracy (classes) or r2 (numbers), on at most 5,000 of the rows.

    A column without importance has a loss about 0, which may be negative. Where r2 is not defined there is no loss.
    """
    rows = random.permutation(len(matrix))[:MAX_PERMUTED_ROWS]
    matrix, truth, name = matrix[rows], truth[rows], SCORE[kind]
    score = measure(kind, truth, predict_rows(pipeline, kind, matrix)).get(name)
    if score is None:
        return {}
    losses = {}
    for column, indexes in places(columns).items():
        permuted = matrix.copy()
        permuted[:, indexes] = matrix[random.permutation(len(matrix))][:, indexes]
        permuted_score = measure(kind, truth, predict_rows(pipeline, kind, permuted)).get(name, score)
        losses[column] = score - permuted_score
    return losses


def ranked_losses(folds: Sequence[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Return mean and standard deviation of each column's loss over the folds, the most important column first."""
    losses = [fold for fold in folds if fold]
    by_column = {name: mean_and_std([fold[name] for fold in losses]) for name in (losses[0] if losses else ())}
    return dict(sorted(by_column.items(), key=lambda item: (-item[1]["mean"], item[0])))


# -- The folds: a model is trained without each of them, and measured on it --------------------------------------------

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


# -- What comes before it: the conversion of a text to a table with types, minutes for a large file --------------------


def convert_data(data: Data, report: Report) -> None:
    """Convert the file now, and call `report` meanwhile: what it raises ends the conversion."""
    report(0, {"stage": "loading"})
    run(data.convert, [data.watch], lambda: report(0, {"stage": "loading"}))
