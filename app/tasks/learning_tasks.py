"""Models of your own tables: train, evaluate, predict. scikit-learn and polars are imported in the bodies."""

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from app.celery_app import celery_app
from app.core.config import get_settings
from app.tasks.files import InputFile, folder_of
from app.tasks.table_tasks import Format, Names, Output, artifact_arguments

Column = Annotated[str, Field(min_length=1, max_length=1000)]
MEDIA_TYPES = {".skops": "application/zip", ".html": "text/html; charset=utf-8", ".svg": "image/svg+xml"}


@celery_app.task(bind=True, name="app.tasks.model_tasks.train_model", dont_autoretry_for=(ValueError,))
def train_model(
    self: Any,
    file: InputFile,
    target: Column,
    kind: Literal["auto", "classification", "regression"] = "auto",
    features: Names | None = None,
    model: Literal["gradient_boosting", "linear"] = "gradient_boosting",
    folds: Annotated[int, Field(ge=2, le=20)] = 5,
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0,
    format: Format = "auto",  # noqa: A002 (the client's word)
) -> dict[str, Any]:
    """Train a model that predicts a column of a table, and measure it by cross-validation.

    `file` is CSV, Parquet or JSON lines. Missing values and texts of few different values are taken as they are;
    columns that look like ids are left out, and the report names them. `kind` is found out by the target. The same
    `seed` gives the same numbers. Reports progress after each of the `folds`.

    The result has `metrics` by scikit-learn's names, each with mean and standard deviation over the folds,
    `importance`, how much accuracy or r2 is lost without a column, and `model`, the id of the artifact `model.skops`,
    which `evaluate_model` and `predict` take. The other artifacts are `report.html` and a picture, `confusion.svg` or
    `residuals.svg`.
    """
    from app.tasks.data.tables import opened
    from app.tasks.learning.training import train

    most = get_settings().max_task_data_bytes
    with folder_of(self) as folder:
        with opened(file.path(), file.name, format=format, max_bytes=most) as data:
            done = train(
                data,
                folder,
                target=target,
                kind=kind,
                features=features,
                model=model,
                folds=folds,
                seed=seed,
                max_bytes=most,
                sha256=file.sha256,
                report=self.update_progress,
            )
        return {**done, "model": _save_all(self, folder)["model.skops"]}


@celery_app.task(bind=True, name="app.tasks.model_tasks.evaluate_model", dont_autoretry_for=(ValueError,))
def evaluate_model(self: Any, model: InputFile, file: InputFile, target: Column | None = None) -> dict[str, Any]:
    """Measure a model of `train_model` on another table.

    `target` is the column with the true values, by default the one of the training. The artifact is a picture,
    `confusion.svg` or `residuals.svg`.
    """
    from app.tasks.data.tables import opened
    from app.tasks.learning.predictions import evaluate

    most = get_settings().max_task_data_bytes
    with folder_of(self) as folder:
        with opened(file.path(), file.name, max_bytes=most) as data:
            done = evaluate(model.path(), data, folder, target=target, report=self.update_progress)
        _save_all(self, folder)
        return done


@celery_app.task(bind=True, name="app.tasks.model_tasks.predict", dont_autoretry_for=(ValueError,))
def predict(
    self: Any, model: InputFile, file: InputFile, output: Output = "parquet", keep: Names | None = None
) -> dict[str, Any]:
    """Predict each row of a table with a model of `train_model`, in the order of the rows.

    The artifact has the columns `keep` of the table, `prediction`, and for a classification `probability`, that of the
    predicted class. Columns that the model needs and the table lacks are named, before anything is written.
    """
    from app.tasks.data.tables import opened
    from app.tasks.learning import predictions

    most = get_settings().max_task_data_bytes
    with ExitStack() as files, folder_of(self) as folder:
        data = files.enter_context(opened(file.path(), file.name, max_bytes=most))
        done = predictions.predict(
            model.path(),
            data,
            folder / "output",
            output=output,
            keep=keep,
            max_bytes=get_settings().max_file_bytes,
            report=self.update_progress,
        )
        return {
            **done,
            "artifact": self.save_artifact(*artifact_arguments(f"predicted-{file.name}", output, folder / "output")),
        }


def _save_all(task: Any, folder: Path) -> dict[str, str]:
    """Save each file of the folder under its name. Returns their ids."""
    return {
        path.name: task.save_artifact(path.name, path, MEDIA_TYPES[path.suffix]) for path in sorted(folder.iterdir())
    }
