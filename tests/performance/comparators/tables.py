"""The bodies of the tasks on tables, without a worker: `python -m … JOB FILE MODEL DESTINATION`. Also `train`."""

import sys
from pathlib import Path
from typing import Any

from app.tasks.data import profiles, transformation
from app.tasks.data.tables import opened
from app.tasks.learning import predictions, training
from tests.performance.comparators.plain_tables import BINS, FILTER, run

MOST = 1 << 31


def report(_percent: float | None, _detail: Any = None) -> None:
    return


def profile(file: Path, _model: Path, _destination: Path) -> None:
    with opened(file, file.name, max_bytes=MOST) as data:
        profiles.profile_with_histograms(data, bins=BINS, report=report)


def transform(file: Path, _model: Path, destination: Path) -> None:
    aggregate = {"total": {"op": "sum", "args": [{"property": "f1"}]}, "rows": {"op": "count", "args": []}}
    with opened(file, file.name, max_bytes=MOST) as data:
        transformation.transform(
            data, destination, filter=FILTER, group_by=["city"], aggregate=aggregate, max_bytes=MOST, report=report
        )


def predict(file: Path, model: Path, destination: Path) -> None:
    with opened(file, file.name, max_bytes=MOST) as data:
        predictions.predict(model, data, destination, report=report)


def train(file: Path, model: Path, _destination: Path) -> None:
    features = [f"f{index}" for index in range(1, 7)]
    with opened(file, file.name, max_bytes=MOST) as data:
        training.train(
            data, model.parent, target="f7", features=features, folds=2, max_bytes=MOST, sha256="0" * 64, report=report
        )


if __name__ == "__main__":
    run({"profile": profile, "transform": transform, "predict": predict, "train": train}, *sys.argv[1:])
