"""Permutation importance: how much worse predictions get when one column's values change places between rows.

L. Breiman, Random Forests, Machine Learning 45 (2001), section 10; here on rows that the model was not trained with.
scikit-learn's `permutation_importance` would give a date's year and month apart; here a column is permuted as a whole.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from app.tasks.learning.columns import Column
from app.tasks.learning.matrix import places
from app.tasks.learning.measures import SCORE, mean_and_std, measure, predict_rows
from app.tasks.learning.target import Kind

# Rows of a fold that are used: more change the third digit, and cost as many seconds as the training.
MAX_ROWS = 5000


def permutation_losses(
    pipeline: Any, kind: Kind, columns: Sequence[Column], matrix: Any, truth: Any, random: np.random.Generator
) -> dict[str, float]:
    """Return for each column the loss of accuracy (classes) or r2 (numbers), on at most 5,000 of the rows.

    A column without importance has a loss about 0, which may be negative. Where r2 is not defined there is no loss.
    """
    rows = random.permutation(len(matrix))[:MAX_ROWS]
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


def ranked(folds: Sequence[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Return mean and standard deviation of each column's loss over the folds, the most important column first."""
    losses = [fold for fold in folds if fold]
    by_column = {name: mean_and_std([fold[name] for fold in losses]) for name in (losses[0] if losses else ())}
    return dict(sorted(by_column.items(), key=lambda item: (-item[1]["mean"], item[0])))
