"""The tasks of the service. Import a new module of tasks here, so that the API can create its tasks."""

from importlib.util import find_spec

from app.tasks import common_tasks, high_priority_tasks

__all__ = ["common_tasks", "high_priority_tasks"]

# Of what an extra brings: without it the catalogue leaves these tasks out (`app/catalogue.py` says which extra).
if find_spec("polars") is not None:
    from app.tasks import table_tasks

    __all__ += ["table_tasks"]

if find_spec("sklearn") is not None:
    from app.tasks import model_tasks

    __all__ += ["model_tasks"]

if all(find_spec(name) is not None for name in ("polars", "sklearn", "skops")):
    from app.tasks import learning_tasks

    __all__ += ["learning_tasks"]

# Import your own modules below this line: one that raises an error then takes none of the tasks above with it.
