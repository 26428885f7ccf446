"""The tasks of the service. Import a new module of tasks here, so that the API can create its tasks."""

from importlib.util import find_spec

from app.tasks import common_tasks, high_priority_tasks

__all__ = ["common_tasks", "high_priority_tasks"]

if find_spec("polars") is not None:  # the extra `data`, as below
    from app.tasks import table_tasks

    __all__ += ["table_tasks"]

if find_spec("sklearn") is not None:  # the extra `ml`: without it the catalogue leaves these tasks out
    from app.tasks import model_tasks

    __all__ += ["model_tasks"]

# Import your own modules below this line: one that raises an error then takes none of the tasks above with it.
