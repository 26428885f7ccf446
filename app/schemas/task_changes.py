"""Request bodies that change a task, or repeat it with changes: their fields are those of TaskCreate."""

from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import ConfigDict, Field, create_model

from app.models.task import TaskStatus
from app.schemas.base import PatchModel
from app.schemas.task import TaskCreate
from app.schemas.values import Editable, JSONValue, NotMasked, Number

_SUBMITTED = TaskCreate.model_fields
# What is said of a field where it is not what TaskCreate says of it.
_SAID: dict[str, dict[str, Any]] = {
    "name": {"examples": ["better"]},
    "task_type": {"examples": None},
    "celery_task_name": {"description": "The old task's own, or left out: a retry runs no other task."},
    "args": {
        "description": "Replaces the positional arguments. A `***` keeps the secret that it hides.",
        "examples": [[30]],
    },
    "kwargs": {"description": "Replaces the keyword arguments. A `***` keeps the secret that it hides."},
    "priority": {"description": "The priority, and with it the queue.", "examples": ["high"]},
    "run_at": {"description": "The earliest start; null: as soon as possible.", "examples": None},
    "expires_at": {"description": "The latest start; null: none.", "examples": None},
    "timeout_seconds": {"description": "The time limit of one attempt, in seconds; null: the task's own."},
    "max_attempts": {"description": "How often the task may fail before it stays failed; null: the task's own."},
    "retry_backoff_seconds": {
        "description": "Seconds to wait before the second attempt; null: the task's own. A wait that has begun stays "
        "as it is."
    },
    "tags": {"description": "Replaces the tags.", "examples": None},
    "metadata": {
        "description": "Replaces the metadata. A `***` keeps the secret that it hides. A task of a schedule keeps its "
        "`scheduled_for`.",
        "examples": None,
    },
    "unique_key": {"examples": [None]},
    "on_conflict": {"description": "If another task has the `unique_key`: as in `POST /tasks/`."},
    "limit": {"description": "The limit; null: the task's own, and no `limit_key` of the old one."},
    "limit_key": {"description": "The key of the limit."},
    "webhook_url": {"description": "Is told of the end of the new task; null: nobody is."},
}


def _editable(when: Editable) -> list[str]:
    return [name for name, field in _SUBMITTED.items() if when in field.metadata]


ALWAYS, PENDING_ONLY = map(_editable, Editable)
_NULLABLE = frozenset(name for name, field in _SUBMITTED.items() if field.default is None)


def changes_of(names: Iterable[str]) -> Any:
    """Return a model in which each of these fields of TaskCreate may be left out."""
    return create_model("_Changes", __base__=PatchModel, **{name: _change(name) for name in names})


def _change(name: str) -> Any:
    field = _SUBMITTED[name]
    # A mask stands for the secret that is stored.
    checks = [each for each in field.metadata if each is not NotMasked and not isinstance(each, Editable)]
    kind: Any = Annotated[field.annotation, *checks] if checks else field.annotation
    said: dict[str, Any] = {"description": field.description, "examples": field.examples, **_SAID.get(name, {})}
    return kind | None, Field(None, **said)


def _listed(names: Iterable[str]) -> str:
    *most, last = [f"`{name}`" for name in names]
    return f"{', '.join(most)} and {last}"


_PATCHED: Any = changes_of([*ALWAYS, *PENDING_ONLY])
_RETRIED: Any = changes_of(_SUBMITTED)


class TaskPatch(_PATCHED):  # type: ignore[misc]  # its fields are those of TaskCreate
    """Changes of a task. Omitted fields keep their values."""

    model_config = ConfigDict(
        json_schema_extra={
            "description": "Changes of a task. Omitted fields keep their values.\n\n"
            f"{_listed(ALWAYS)} can change at any time. {_listed(PENDING_ONLY)} can change while the task is pending. "
            "Only administrators can set `status`, `progress`, `progress_detail` and `result`. The state machine "
            "applies to them too.",
            "examples": [{"name": "a better name", "tags": ["nightly"]}],
        }
    )

    nullable = _NULLABLE.intersection([*ALWAYS, *PENDING_ONLY]) | {"progress_detail", "result"}

    status: TaskStatus | None = Field(
        None, description="Administrators: `revoked`, `succeeded` or `failed`.", examples=["revoked"]
    )
    progress: Annotated[int, Field(ge=0, le=100), Number] | None = Field(
        None, description="Administrators: the progress in percent."
    )
    progress_detail: Annotated[JSONValue, NotMasked] = Field(
        None, description="Administrators: details of the progress, any JSON."
    )
    result: Annotated[JSONValue, NotMasked] = Field(
        None, description="Administrators: the result, any JSON. Only with status `succeeded`."
    )


class TaskRetry(_RETRIED):  # type: ignore[misc]
    """What the new task has instead of the old one's. It has the rest of the old one.

    `unique_key`, `run_at`, `delay_seconds` and `expires_at` are not copied: a new task has those that are named here.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [{"kwargs": {"param": "another value"}}]})

    nullable = _NULLABLE


def named_in(body: PatchModel | None) -> dict[str, Any]:
    """Return the fields that the client sent."""
    return {} if body is None else body.model_dump(exclude_unset=True)
