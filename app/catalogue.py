"""Which tasks may be created, and what their parameters are: read once from the tasks' own signatures.

Celery imports the task modules by their names, when the catalogue is first read.
"""

import functools
import inspect
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from app.core.config import Settings, get_settings
from app.core.nearest import did_you_mean
from app.core.redaction import Parameters
from app.errors import Text, UnknownTask
from app.messaging.application import DEFAULT_QUEUE, celery_app
from app.messaging.loader import Finding
from app.messaging.parameters import TaskParameters, UnusableParameter, parameters_of_task
from app.messaging.task_base import SQLAlchemyTask

logger = logging.getLogger(__name__)


class ForeignBase(Exception):
    """A task without the base that records what becomes of it. The message says what to do."""


@dataclass(frozen=True)
class TaskType:
    """A task of the catalogue. `parameters` is JSON Schema (draft 2020-12), as pydantic writes it."""

    celery_task_name: str
    summary: str
    description: str
    first_paragraph: str
    parameters: dict[str, Any]
    default_queue: str
    queue: str | None
    time_limit: float | None
    max_attempts: int
    max_attempts_named: bool
    rerun_lost: bool
    needs_settings: tuple[str, ...]
    users_setting: str | None
    reads_tasks: bool
    limit: str | None
    limit_key: str | None
    task_parameters: TaskParameters = field(repr=False)
    positions: Parameters = field(repr=False)

    def check(self, args: list[Any], kwargs: Mapping[str, Any]) -> None:
        """Raise InvalidArguments, naming the parameter, unless the body can be called with these."""
        self.task_parameters.check(args, kwargs)

    def missing_settings(self, settings: Settings) -> list[str]:
        """Return the names of the settings that the operator has to set before anyone can create the task."""
        return [name.upper() for name in self.needs_settings if not getattr(settings, name)]

    def may_be_created_by(self, user_id: UUID, role: str, settings: Settings) -> bool:
        """Return whether the user may create the task, if its settings are there."""
        if self.users_setting is None:
            return True
        return not {"*", f"role:{role}", str(user_id)}.isdisjoint(getattr(settings, self.users_setting))

    @property
    def always_reads(self) -> bool:
        """Return whether each task of this type reads tasks or files of its user."""
        return self.reads_tasks or self.task_parameters.requires_files

    def reads(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
        """Return whether a task with these arguments reads tasks or files of its user."""
        return self.reads_tasks or self.task_parameters.names_files(args, kwargs)


def redact_args(celery_task_name: str, args: list[Any]) -> list[Any]:
    """Return positional arguments as they are shown: by the names of their parameters."""
    kind = catalogue().get(celery_task_name)
    return (kind.positions if kind else Parameters()).redact(args)


@functools.cache
def read_tasks() -> tuple[dict[str, TaskType], list[Finding]]:
    """Import all task modules. Returns the tasks that may be created, by name, and those that are left out."""
    celery_app.loader.import_default_modules()
    found: dict[str, TaskType] = {}
    findings: list[Finding] = list(celery_app.loader.findings)
    for name, task in sorted(celery_app.tasks.items()):
        if not getattr(task, "catalogue", True) or name.startswith("celery."):
            continue
        try:
            found[name] = type_of(task)
        except (ForeignBase, UnusableParameter) as error:
            findings.append(Finding(f"task {name} is not in the catalogue", str(error), _place(task)))
            logger.warning("%s", findings[-1])
    return found, findings


def tasks_kept_out() -> list[str]:
    """Return the names of the tasks that have `catalogue=False`, those of Celery left out."""
    return sorted(
        name
        for name, task in celery_app.tasks.items()
        if not getattr(task, "catalogue", True) and not name.startswith(("celery.", "app.", "task_service."))
    )


@functools.cache
def catalogue() -> dict[str, TaskType]:
    """Return all tasks that may be created, by name."""
    return read_tasks()[0]


def known_queues() -> set[str]:
    """Return the queues that are declared, and those that tasks name for themselves."""
    return {*celery_app.amqp.queues, *(kind.queue for kind in catalogue().values() if kind.queue)}


# The tasks that the packages of an extra bring, and which one.
EXTRAS = {
    **{f"app.tasks.common_tasks.{name}": "data" for name in ("profile_data", "transform_data", "export_tasks")},
    **{
        f"app.tasks.model_tasks.{name}": "ml"
        for name in ("train_classifier", "train_model", "evaluate_model", "predict")
    },
}

# Names with dots have much in common without being meant: those of one package begin alike.
NEAR_NAME = 0.85


def _place(task: Any) -> str:
    """Return file and line of a task's body, as an editor opens it."""
    code = getattr(inspect.unwrap(task.run), "__code__", None)
    kind = type(task)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else f"{kind.__module__}.{kind.__qualname__}"


def find_type(celery_task_name: str) -> TaskType:
    """Return the catalogue's entry. Raises UnknownTask, naming the field, also for a task that lacks its settings."""
    found = catalogue().get(celery_task_name)
    if found is None or (found.needs_settings and found.missing_settings(get_settings())):
        message = Text(
            "is no task that can be created{}; if it is yours, `python -m app check` says why",
            _did_you_mean(celery_task_name),
        )
        if celery_task_name in EXTRAS:
            extra = EXTRAS[celery_task_name]
            message = Text("needs packages that are not installed here: pip install 'task-service[{}]'", extra)
        raise UnknownTask.at(["celery_task_name"], message)
    return found


def _did_you_mean(celery_task_name: str) -> str:
    """Name the nearest of the tasks that every user may list."""
    settings = get_settings()
    listed = [
        name for name, kind in catalogue().items() if not kind.users_setting and not kind.missing_settings(settings)
    ]
    return did_you_mean(celery_task_name, listed, NEAR_NAME)


def type_of(task: Any) -> TaskType:
    """Return the entry of one task. Raises ForeignBase, UnusableParameter."""
    if not isinstance(task, SQLAlchemyTask):
        raise ForeignBase(
            "its base class does not record tasks: leave `base` out, or have it inherit from "
            "app.celery_app.SQLAlchemyTask. `catalogue=False` says that it is no task of the API"
        )
    parameters = parameters_of_task(task)
    text = inspect.getdoc(task) or task.name
    summary, _, description = text.partition("\n")
    attempts, named = _attempts(task)
    return TaskType(
        celery_task_name=task.name,
        summary=summary.strip(),
        description=description.strip(),
        first_paragraph=" ".join(text.strip().partition("\n\n")[0].split()),
        parameters=parameters.json_schema,
        default_queue=getattr(task, "queue", None) or DEFAULT_QUEUE,
        queue=getattr(task, "queue", None),
        time_limit=task.time_limit,
        max_attempts=attempts,
        max_attempts_named=named,
        rerun_lost=task.rerun_lost,
        needs_settings=task.needs_settings,
        users_setting=task.users_setting,
        reads_tasks=task.reads_tasks,
        limit=task.limit,
        limit_key=task.limit_key,
        task_parameters=parameters,
        positions=Parameters.of(parameters.signature),
    )


def _attempts(task: Any) -> tuple[int, bool]:
    """Return how often the body may fail by default, and whether the decorator says so itself."""
    if task.max_attempts is not None:
        return task.max_attempts, True
    if getattr(task, "autoretry_for", ()) and task.max_retries is not None:
        return task.max_retries + 1, False
    return 1, False
