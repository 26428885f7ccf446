"""Request bodies that change a task, or repeat it with changes. Their fields mean what those of TaskCreate mean."""

from typing import Annotated, Any

from pydantic import ConfigDict, Field

from app.models.task import OnConflict, TaskStatus
from app.schemas.base import PatchModel
from app.schemas.json_value import JSONArray, JSONObject, JSONValue, LimitName, SearchableObject, ShortText, Tag
from app.schemas.task import MAX_TAGS
from app.schemas.task_values import Attempts, Moment, NotMasked, Number, PriorityIn, Seconds, TimeLimit

_NULLABLE = frozenset({"run_at", "expires_at", "timeout_seconds", "max_attempts", "retry_backoff_seconds"})


class TaskChanges(PatchModel):
    """What both kinds of change can name."""

    nullable = _NULLABLE

    name: ShortText | None = Field(None, description="A name for people.", examples=["better"])
    tags: list[Tag] | None = Field(None, max_length=MAX_TAGS, description="Replaces the tags.")
    metadata: SearchableObject | None = Field(
        None,
        description="Replaces the metadata. A `***` keeps the secret that it hides.",
    )
    args: JSONArray | None = Field(
        None,
        description="Replaces the positional arguments. A `***` keeps the secret that it hides.",
        examples=[[30]],
    )
    kwargs: JSONObject | None = Field(
        None,
        description="Replaces the keyword arguments. A `***` keeps the secret that it hides.",
        examples=[{"param": "value"}],
    )
    priority: PriorityIn | None = Field(None, description="The priority, and with it the queue.", examples=["high"])
    run_at: Moment | None = Field(None, description="The earliest start; null: as soon as possible.")
    expires_at: Moment | None = Field(None, description="The latest start; null: none.")
    timeout_seconds: TimeLimit | None = Field(
        None, description="The time limit of one attempt, in seconds; null: the task's own.", examples=[600]
    )
    max_attempts: Attempts | None = Field(
        None, description="How often the task may fail before it stays failed; null: the task's own.", examples=[3]
    )
    retry_backoff_seconds: Seconds | None = Field(
        None,
        description="Seconds to wait before the second attempt; null: the task's own. A wait that has begun stays as "
        "it is.",
        examples=[5],
    )


class TaskPatch(TaskChanges):
    """Changes of a task. Omitted fields keep their values.

    `name`, `tags` and `metadata` can change at any time. `args`, `kwargs`, `priority`, `run_at`, `expires_at`,
    `timeout_seconds`, `max_attempts` and `retry_backoff_seconds` can change while the task is pending. Only
    administrators can set `status`, `progress`, `progress_detail` and `result`. The state machine applies to them too.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "a better name", "tags": ["nightly"]}]})

    nullable = _NULLABLE | {"progress_detail", "result"}

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


class TaskRetry(TaskChanges):
    """What the new task has instead of the old one's. It has the rest of the old one.

    `unique_key`, `run_at`, `delay_seconds` and `expires_at` are not copied: a new task has those that are named here.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [{"kwargs": {"param": "another value"}}]})

    nullable = _NULLABLE | {"delay_seconds", "unique_key", "limit", "limit_key"}

    task_type: ShortText | None = Field(None, description="Your own category, for filters.")
    celery_task_name: ShortText | None = Field(
        None,
        description="The old task's own, or left out: a retry runs no other task.",
        examples=["app.tasks.common_tasks.long_running_task"],
    )
    delay_seconds: Seconds | None = Field(
        None, description="The earliest start, in seconds from now. Exclusive with `run_at`.", examples=[30]
    )
    unique_key: ShortText | None = Field(
        None, description="Of your pending and running tasks, one at most has this key.", examples=[None]
    )
    on_conflict: OnConflict | None = Field(
        None, description="If another task has the `unique_key`: as in `POST /tasks/`."
    )
    limit: LimitName | None = Field(
        None, description="The limit; null: the task's own, and no `limit_key` of the old one.", examples=[None]
    )
    limit_key: ShortText | None = Field(None, description="The key of the limit.", examples=[None])


def named_in(body: TaskChanges | None) -> dict[str, Any]:
    """Return the fields that the client sent."""
    return {} if body is None else body.model_dump(exclude_unset=True)
