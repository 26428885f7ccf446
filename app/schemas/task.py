"""Request and response bodies of tasks, and of what the tasks log, emit and keep. Fields have the model's names.

The meaning of a field is that of the model's, too.
"""

from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from app.catalogue import redact_args
from app.core.config import get_settings
from app.core.json_text import dumped, json_size
from app.core.served_tasks import served_tasks
from app.models.task import AttemptOutcome, Held, LogLevel, OnConflict, TaskPriority, TaskStatus, WaitingReason
from app.outbound.fields import PublicURL
from app.schemas.base import RequestModel, ResponseModel, validate_items
from app.schemas.values import (
    Attempts,
    Editable,
    JSONArray,
    JSONObject,
    LimitName,
    Moment,
    NotMasked,
    PriorityIn,
    SearchableObject,
    Seconds,
    ShortText,
    Shown,
    ShownText,
    Tag,
    TimeLimit,
    check_bytes,
)

# Of a field that holds an enum's value, or a text that only a newer version of the service knows.
_BY_NAME = Field(union_mode="left_to_right")
TASK_CREATE: dict[str, Any] = {
    "name": "数据处理任务",
    "task_type": "data_processing",
    "celery_task_name": "app.tasks.common_tasks.long_running_task",
    "args": [60],
    "kwargs": {"param": "value"},
    "priority": "normal",
}
# A task as it is read, without the fields that are null.
TASK_SHOWN: dict[str, Any] = {
    "id": "019a1f3c-7b1e-7c3a-9f57-3b1f4a0c2d11",
    "celery_id": "0f8fad5b-d9cb-469f-a165-70867728950e",
    "user_id": "019a1f3c-0000-7c3a-9f57-3b1f4a0c2d11",
    **TASK_CREATE,
    "queue": "default",
    "status": "running",
    "progress": 50,
    "progress_detail": {"step": 30},
    "max_attempts": 1,
    "tags": ["nightly"],
    "metadata": {"order": 17},
    "attempt": 1,
    "worker": "worker1@host",
    "version": 22,
    "created_at": "2026-11-24T12:00:00Z",
    "updated_at": "2026-11-24T12:00:30Z",
    "started_at": "2026-11-24T12:00:00Z",
}


# -- Tasks: what creates them, and how they are shown ------------------------------------------------------------------

MAX_TAGS = 50
MAX_BATCH = 1000
# That one task depends on.
MAX_PARENTS = 1000

# Factories, since pydantic would deep-copy a default `[]` for each task.
_EMPTY_LIST: dict[str, Any] = {"default_factory": list, "json_schema_extra": {"default": []}}
_EMPTY_OBJECT: dict[str, Any] = {"default_factory": dict, "json_schema_extra": {"default": {}}}


class TaskCreate(RequestModel):
    """A task to run: its arguments, its time and its number of attempts."""

    model_config = ConfigDict(json_schema_extra={"examples": [TASK_CREATE]})

    name: Annotated[ShortText, Editable.ALWAYS] = Field(description="A name for people.", examples=["数据处理任务"])
    task_type: ShortText = Field(description="Your own category, for filters.", examples=["data_processing"])
    celery_task_name: ShortText = Field(
        description="The task to run: one of `GET /tasks/types`.", examples=["app.tasks.common_tasks.long_running_task"]
    )
    args: Annotated[JSONArray, NotMasked, Editable.WHILE_PENDING] = Field(
        **_EMPTY_LIST, description="Positional arguments.", examples=[[60]]
    )
    kwargs: Annotated[JSONObject, NotMasked, Editable.WHILE_PENDING] = Field(
        **_EMPTY_OBJECT,
        description="Keyword arguments. Answers show `***` below keys that name a secret, such as `password`.",
        examples=[{"param": "value"}],
    )
    priority: Annotated[PriorityIn, Editable.WHILE_PENDING] = Field(
        TaskPriority.NORMAL,
        description="A priority name, `urgent` (critical), or a number from 1 (low) to 4 (critical).",
        examples=["normal"],
    )
    run_at: Annotated[Moment | None, Editable.WHILE_PENDING] = Field(
        None, description="The earliest start (RFC 3339 with an offset).", examples=["2030-01-01T08:00:00Z"]
    )
    delay_seconds: Seconds | None = Field(
        None, description="The earliest start, in seconds from now. Exclusive with `run_at`.", examples=[30]
    )
    expires_at: Annotated[Moment | None, Editable.WHILE_PENDING] = Field(
        None, description="The task is revoked if it has not started by this time.", examples=["2030-01-02T08:00:00Z"]
    )
    timeout_seconds: Annotated[TimeLimit | None, Editable.WHILE_PENDING] = Field(
        None, description="The time limit of one attempt, in seconds. Its process is killed then.", examples=[600]
    )
    max_attempts: Annotated[Attempts | None, Editable.WHILE_PENDING] = Field(
        None, description="How often the task may fail before it stays failed. Default: the task's own.", examples=[3]
    )
    retry_backoff_seconds: Annotated[Seconds | None, Editable.WHILE_PENDING] = Field(
        None, description="Seconds to wait before the second attempt. Doubles with each further attempt.", examples=[5]
    )
    tags: Annotated[list[Tag], Editable.ALWAYS] = Field(
        **_EMPTY_LIST, max_length=MAX_TAGS, description="Labels, for filters.", examples=[["nightly"]]
    )
    metadata: Annotated[SearchableObject, NotMasked, Editable.ALWAYS] = Field(
        **_EMPTY_OBJECT, description="Your own data, a JSON object.", examples=[{"order": 17}]
    )
    unique_key: ShortText | None = Field(
        None, description="Of your pending and running tasks, one at most has this key.", examples=["report 2030-01-01"]
    )
    on_conflict: OnConflict = Field(
        OnConflict.REJECT,
        description="If another task has the `unique_key`: `reject` the request (409), `return` that task, or "
        "`replace` it. A replaced task is pending and keeps its id and `celery_task_name`. Only with `unique_key`.",
    )

    limit: LimitName | None = Field(
        None,
        description="A limit on how many tasks run or start: one of `GET /limits/`. Default: the task's own.",
        examples=[None],
    )
    limit_key: ShortText | None = Field(
        None,
        description="A key of the limit, such as the name of a customer. All users share the keys.",
        examples=[None],
    )
    depends_on: list[UUID] = Field(
        **_EMPTY_LIST,
        max_length=MAX_PARENTS,
        description="Ids of your own tasks, all of which must have succeeded before it starts. If one fails or is "
        "revoked, it is revoked with `status_reason: parent_failed`.",
        examples=[[]],
    )
    webhook_url: PublicURL | None = Field(
        None,
        description="Is told of the end of the task, once, with a signature of your `GET /users/me/webhook-secret`. "
        "An http:// or https:// URL of a public address, or of one in OUTBOUND_ALLOW.",
        examples=[None],
    )

    @field_validator("depends_on")
    @classmethod
    def _each_once(cls, value: list[UUID]) -> list[UUID]:
        return [*dict.fromkeys(value)] if value else value

    @field_validator("kwargs")
    @classmethod
    def _within_limit_with_args(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        """MAX_ARGUMENTS_BYTES limits `args` and `kwargs` together."""
        value = dumped(value)
        check_bytes(json_size(info.data.get("args", [])) + json_size(value), get_settings().max_arguments_bytes)
        return value

    @model_validator(mode="after")
    def _fields_fit_together(self) -> Self:
        if self.run_at is not None and self.delay_seconds is not None:
            raise PydanticCustomError("start_given_twice", "Send run_at or delay_seconds, not both")
        if self.run_at is not None and self.expires_at is not None and self.expires_at <= self.run_at:
            raise PydanticCustomError("expires_before_start", "expires_at must be later than run_at")
        if self.unique_key is None and "on_conflict" in self.model_fields_set:
            raise PydanticCustomError("on_conflict_without_key", "on_conflict requires a unique_key")
        return self


class TaskBatchCreate(RequestModel):
    """Tasks that are all accepted, or all refused."""

    tasks: list[TaskCreate] = Field(
        min_length=1, max_length=MAX_BATCH, description="Tasks, each as in `POST /tasks/`.", examples=[[TASK_CREATE]]
    )

    @field_validator("tasks", mode="wrap")
    @classmethod
    def _one_by_one(cls, tasks: Any, validate: ValidatorFunctionWrapHandler) -> list[TaskCreate]:
        return validate_items(TaskCreate, tasks, MAX_BATCH) if isinstance(tasks, list) and tasks else validate(tasks)


class TaskError(ResponseModel):
    """The error of the last attempt."""

    type: str = Field(description="The class of the exception.", examples=["ValueError"])
    message: Annotated[str | None, ShownText] = Field(
        description="The message, with secrets hidden.", examples=["duration must not be negative"]
    )


class WaitingFor(ResponseModel):
    """Why a pending task does not run yet: the first reason that holds."""

    reason: Annotated[WaitingReason | str, _BY_NAME] = Field(
        description="`schedule`: until its time. `retry`: until its back-off is over. `paused`: its queue is paused. "
        "`dependency`: tasks that it depends on have not ended. `limit`: its limit, or its key of it, is full. "
        "`no_worker`: no live worker serves the queue and knows the task; may lag by one heartbeat. `turn`: it is "
        "next in line when a slot is free. While the service is upgraded, also a word that only its newer version "
        "knows.",
        examples=["schedule"],
    )
    until: datetime | None = Field(None, description="For `schedule` and `retry`: the time, in UTC.")
    key: str | None = Field(
        None,
        description="For `paused`: the queue. For `limit`: `name` or `name:limit_key`; `QUOTA_RUNNING_TASKS` while as "
        "many tasks of the owner run as this setting allows.",
        examples=[None],
    )
    blocked_by: list[UUID] | None = Field(None, description="For `dependency`: the tasks that have not ended.")


# Made once: most pending tasks wait for one of the two.
_TURN, _NO_WORKER = (WaitingFor(reason=reason) for reason in (WaitingReason.TURN, WaitingReason.NO_WORKER))


# As many of its owner's tasks run as QUOTA_RUNNING_TASKS allows.
_OF_USER = WaitingFor(reason=WaitingReason.LIMIT, key="QUOTA_RUNNING_TASKS")


def _explain(waits: str | None, info: ValidationInfo) -> WaitingFor | None:
    """Make a `WaitingFor` of what the database knows (`Task.waits`), and of which tasks the live workers can run."""
    if waits is None:
        return None
    task = info.data
    if waits == "ready":
        served = served_tasks().can_run(task.get("queue", ""), task.get("celery_task_name", ""))
        return _TURN if served else _NO_WORKER
    if waits == WaitingReason.PAUSED:
        return WaitingFor(reason=WaitingReason.PAUSED, key=task.get("queue"))
    if waits == Held.USER:
        return _OF_USER
    if waits in {Held.LIMIT, Held.LIMIT_KEY}:
        key = task.get("limit") if waits == Held.LIMIT else f"{task.get('limit')}:{task.get('limit_key')}"
        return WaitingFor(reason=WaitingReason.LIMIT, key=key)
    until = task.get("run_at") if waits in {WaitingReason.SCHEDULE, WaitingReason.RETRY} else None
    return WaitingFor(reason=str(waits), blocked_by=getattr(waits, "blocked_by", None), until=until)


class TaskRead(ResponseModel):  # type: ignore[no-redef]  # the plugin gives __init__ its own kwargs
    """A task. Answers and events show committed states only."""

    model_config = ConfigDict(json_schema_extra=lambda schema: schema.update(examples=[TASK]))

    id: UUID = Field(description="The task's id, a UUID version 7: ids sort by creation time.")
    celery_id: UUID = Field(description="The id by which Celery knows the task. A retry through the API changes it.")
    user_id: UUID = Field(description="The owner's id.")
    name: str = Field(description="A name for people.")
    task_type: str = Field(description="The owner's own category.")
    celery_task_name: str = Field(description="The task that runs.")
    args: list[Any] = Field(description="Positional arguments. `***` hides arguments of parameters that name a secret.")
    kwargs: Annotated[dict[str, Any], Shown] = Field(
        description="Keyword arguments. `***` hides values below keys that name a secret."
    )
    priority: TaskPriority = Field(description="The priority.")
    queue: str = Field(description="The queue: `high_priority`, `default` or `low_priority`.", examples=["default"])
    status: TaskStatus = Field(description="The state.")
    status_reason: str | None = Field(
        description="Why the task was revoked: `cancelled`, `expired`, `ignored`, `stopped` or `parent_failed`."
    )
    progress: int = Field(description="The progress in percent, 0 to 100.", examples=[50])
    progress_detail: Annotated[Any | None, Shown] = Field(
        description="Details of the progress, as the task reports them."
    )
    result: Annotated[Any | None, Shown] = Field(description="The return value of the task. null unless it succeeded.")
    error: TaskError | None = Field(description="The error of the last attempt. null unless it failed.")
    error_fingerprint: str | None = Field(
        description="The group of failures that the task belongs to: one of `GET /errors/`. null unless it failed."
    )
    run_at: datetime | None = Field(description="The earliest start, as requested.")
    delay_seconds: float | None = Field(description="The delay in seconds, as requested.")
    expires_at: datetime | None = Field(description="The latest start. The task is revoked then.")
    timeout_seconds: float | None = Field(description="The time limit of one attempt, in seconds.")
    max_attempts: int = Field(description="How often the task may fail before it stays failed.")
    retry_backoff_seconds: float | None = Field(description="Seconds before the second attempt. Doubles each time.")
    tags: list[str] = Field(description="Labels, for filters.")
    metadata: Annotated[dict[str, Any], Shown] = Field(
        validation_alias="metadata_",
        description="The owner's own data. `***` hides values below keys that name a secret.",
    )
    unique_key: str | None = Field(description="The key that no other pending or running task of the owner has.")
    on_conflict: OnConflict | None = Field(description="As requested. null without a `unique_key`.")
    limit: str | None = Field(None, description="The limit that the task needs a place of to run.")
    limit_key: str | None = Field(None, description="The key of the limit.")
    depends_on: list[UUID] | None = Field(None, description="The tasks that it waits for before it starts.")
    webhook_url: Annotated[str | None, ShownText] = Field(
        None, description="Is told of the end of the task. `***` hides what looks like a secret."
    )
    schedule_id: UUID | None = Field(
        None, description="The schedule that made the task: by itself, by a trigger or by a backfill."
    )
    workflow_id: UUID | None = Field(None, description="The workflow that it is part of.")
    attempt: int = Field(description="The number of starts so far, including lost ones.", examples=[1])
    worker: str | None = Field(description="The worker of the last attempt.", examples=["worker1@host"])
    version: int = Field(description="Grows by one with each visible change. The ETag holds it too.")
    created_at: datetime = Field(description="When the task was accepted, in UTC.")
    updated_at: datetime = Field(description="When the task last changed, in UTC.")
    started_at: datetime | None = Field(description="When the last attempt started, in UTC.")
    finished_at: datetime | None = Field(description="When the task ended, in UTC.")
    cancel_requested_at: datetime | None = Field(description="When cancellation was requested, in UTC.")
    waiting_for: Annotated[WaitingFor | None, BeforeValidator(_explain)] = Field(
        None,
        validation_alias="waits",
        description="Why the task does not run yet. null unless it is pending. It changes neither `version` nor ETag.",
    )
    retry_of: UUID | None = Field(
        None, description="The ended task that this one repeats with changes. That task may be deleted by now."
    )

    @field_validator("args")
    @classmethod
    def _hide_by_parameter(cls, args: list[Any], info: ValidationInfo) -> list[Any]:
        return redact_args(info.data.get("celery_task_name", ""), args)


TASK: dict[str, Any] = {name: TASK_SHOWN.get(name) for name in TaskRead.model_fields}


class TaskBatchRead(ResponseModel):
    """The tasks of a batch."""

    tasks: list[TaskRead] = Field(description="The tasks, in the order of the request.")


class TaskCounts(ResponseModel):
    """Exact numbers of tasks."""

    total: int = Field(description="All tasks that match.", examples=[8])
    pending: int = Field(0, description="Tasks that wait to run.", examples=[1])
    running: int = Field(0, description="Tasks that run.", examples=[2])
    succeeded: int = Field(0, description="Tasks that succeeded.", examples=[5])
    failed: int = Field(0, description="Tasks that failed.", examples=[0])
    revoked: int = Field(0, description="Tasks that were revoked.", examples=[0])


class TaskCountsByReason(TaskCounts):
    """The same, with what the pending tasks wait for."""

    waiting_for: dict[str, int] = Field(
        description="The pending tasks by the reason for which they wait.", examples=[{"schedule": 1}]
    )


class TaskAttemptRead(ResponseModel):
    """One attempt to run a task."""

    number: int = Field(description="1 for the first attempt.", examples=[1])
    worker: str | None = Field(description="The worker that ran it.", examples=["worker1@host"])
    started_at: datetime = Field(description="When the attempt started, in UTC.")
    finished_at: datetime | None = Field(description="When the attempt ended, in UTC; null while it runs.")
    outcome: Annotated[AttemptOutcome | str, _BY_NAME] = Field(
        description="How the attempt ended; `running` until then. While the service is upgraded, also a word that only "
        "its newer version knows."
    )
    error_type: str | None = Field(
        description="The class of the exception, or `worker_lost`.", examples=["worker_lost"]
    )
    error_message: Annotated[str | None, ShownText] = Field(
        description="The message, with secrets hidden.", examples=["signal 9 (SIGKILL), perhaps out of memory"]
    )
    traceback: Annotated[str | None, ShownText] = Field(description="The traceback, if any, with secrets hidden.")


class TaskTypeRead(ResponseModel):
    """A task that can be created."""

    celery_task_name: str = Field(
        description="The name to create it with.", examples=["app.tasks.common_tasks.long_running_task"]
    )
    summary: str = Field(
        description="What the task does, in one line.", examples=["Take a given time, in equal steps."]
    )
    description: str = Field(description="The rest of the task's docstring.")
    parameters: dict[str, Any] = Field(description="The JSON Schema of the parameters, as `kwargs`.")
    default_queue: str = Field(description="The queue for priority `normal`.", examples=["default"])
    time_limit: float | None = Field(
        description="The default time limit of one attempt, in seconds. `timeout_seconds` replaces it."
    )


# -- The lines that a task logged --------------------------------------------------------------------------------------

ShownLevel = Annotated[LogLevel, BeforeValidator(lambda level: LogLevel.of(level) if isinstance(level, int) else level)]


class TaskLogRead(ResponseModel):
    """One line that the body of a task logged or printed."""

    seq: int = Field(description="Rises over all attempts of the task, with gaps.", examples=[4294967297])
    at: datetime = Field(description="When it was logged, in UTC.")
    level: ShownLevel = Field(description="The level. A level in between counts as the next lower one.")
    logger: str = Field(
        description="The logger's name; `stdout` and `stderr` are printed lines.", examples=["myteam.tasks"]
    )
    message: Annotated[str, ShownText] = Field(
        description="The message with its traceback, if it has one. Secrets are hidden.", examples=["read 100 rows"]
    )
    attempt: int = Field(description="The attempt that logged it.", examples=[1])
    fields: Annotated[dict[str, Any], Shown] = Field(
        description="What was given as `extra`. Secrets are hidden.", examples=[{"rows": 100}]
    )


# -- What a task emitted -----------------------------------------------------------------------------------------------


class TaskOutputRead(ResponseModel):
    """One chunk of an output stream, which the body of a task emitted by `self.emit`."""

    seq: int = Field(description="Rises over all streams and attempts of the task, with gaps.", examples=[4294967297])
    stream: str = Field(description="The stream that the body named.", examples=["output"])
    attempt: int = Field(description="The attempt that emitted it.", examples=[1])
    at: datetime = Field(description="When it was emitted, in UTC; of several texts, the first one.")
    chunk: Annotated[Any, Shown] = Field(
        description="A text or any JSON. Texts of one stream that came one behind the other may stand in one chunk.",
        examples=["The answer is"],
    )


# -- The steps that a task has done ------------------------------------------------------------------------------------


class TaskStepRead(ResponseModel):
    """A step that the body of a task has done by `self.step`."""

    name: str = Field(description="The name that the body gave it.", examples=["download"])
    attempt: int = Field(description="The attempt that ran it. Later ones got its result.", examples=[1])
    started_at: datetime = Field(description="When its function was called, in UTC.")
    finished_at: datetime = Field(description="When it was kept, in UTC.")
    size: int = Field(description="The bytes of its result as JSON.", examples=[11])
    result: Annotated[Any | None, Shown] = Field(description="What it returned.", examples=[{"rows": 3}])
