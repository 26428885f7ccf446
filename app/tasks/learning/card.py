"""What a model file says about its model: `model.json` beside the parts that skops writes."""

import platform
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from app.tasks.learning.columns import Column
from app.tasks.learning.pipelines import Model
from app.tasks.learning.selection import MAX_FEATURES
from app.tasks.learning.target import Target

FORMAT: Literal[1] = 1  # of the model file; another number is another meaning of its members


class Versions(BaseModel):
    """Versions of the packages that made the model."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    python: str
    numpy: str
    scikit_learn: str
    skops: str


class Card(BaseModel):
    """The card of a model.

    `columns` are in the order of the pipeline's matrix, in which a text is the index of its category (-1: unknown), a
    date is its year, month, day and weekday (a date with a time also its hour), a time of the day is in seconds, and a
    missing value is NaN. `sha256` is that of the training file, `rows` the rows that the model was trained with,
    `skipped` the rows without a target, and `left_out` the reasons why columns are no features.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    format: Literal[1] = FORMAT
    model: Model
    target: Target
    columns: list[Column] = Field(min_length=1, max_length=MAX_FEATURES)
    rows: int = Field(ge=1)
    skipped: int = Field(ge=0)
    left_out: dict[str, str]
    folds: int
    seed: int
    metrics: dict[str, dict[str, float]]
    importance: dict[str, dict[str, float]]
    sha256: str
    versions: Versions

    @property
    def names(self) -> list[str]:
        return [column.name for column in self.columns]


def installed_versions() -> Versions:
    import numpy as np
    import sklearn
    import skops

    return Versions(
        python=platform.python_version(),
        numpy=np.__version__,
        scikit_learn=sklearn.__version__,
        skops=skops.__version__,
    )
