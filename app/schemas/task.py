"""Tasks as clients send and see them. Where the names are the model's, the meaning is too."""

from datetime import UTC, datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.json_schema import SkipJsonSchema, WithJsonSchema
from pydantic_core import PydanticCustomError

from app.catalogue import redact_args
from app.core.config import get_settings
from app.core.redacted_text import redact_text
from app.core.redaction import holds_mask, redact
from app.db.base import dumped, json_size
from app.models.task import AttemptOutcome, TaskPriority, TaskStatus
from app.schemas.base import PatchModel, RequestModel
from app.schemas.json_value import JSONArray, JSONObject, JSONValue, SearchableObject, ShortText, Tag, check_size

MAX_SECONDS = 366 * 24 * 3600
MAX_TAGS = 50
MAX_BATCH = 1000

_PRIORITIES: dict[Any, TaskPriority] = {
    **dict(enumerate(TaskPriority, start=1)),
    "urgent": TaskPriority.CRITICAL,
}


def _priority(value: Any) -> Any:
    """1–4 from low to critical, and `urgent`, beside the names themselves."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return value
    return _PRIORITIES.get(value, value)  # 3.0 is 3, in JSON Schema as in Python


PriorityIn = Annotated[
    TaskPriority,
    BeforeValidator(_priority),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "enum": [*TaskPriority, "urgent"]},
                {"type": "integer", "minimum": 1, "maximum": 4},
            ]
        }
    ),
]


def _not_a_number(value: Any) -> Any:
    """pydantic would read 0.5, as a number or as text, as seconds since 1970: only RFC 3339 is offered."""
    if isinstance(value, int | float) or (isinstance(value, str) and ":" not in value):
        raise PydanticCustomError("datetime_parsing", "Input should be a date and a time with an offset (RFC 3339)")
    return value


def _in_utc(value: datetime) -> datetime:
    """An offset can carry the first or the last day of the calendar beyond it: the row could not be read again."""
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise PydanticCustomError("datetime_range", "In UTC this is outside the years 1 to 9999") from None


Moment = Annotated[AwareDatetime, BeforeValidator(_not_a_number), AfterValidator(_in_utc)]


def _a_number(value: Any) -> Any:
    """pydantic would read true as 1 and "1" as 1."""
    if isinstance(value, bool | str):
        raise PydanticCustomError("number_type", "Input should be a number")
    return value


Number = BeforeValidator(_a_number)
Seconds = Annotated[float, Field(ge=0, le=MAX_SECONDS), Number]

# Below keys that name a secret (password, token, api_key, …) answers show `***`; the row, and the task, have the value.
Shown = AfterValidator(redact)
ShownText = AfterValidator(lambda text: None if text is None else redact_text(text))


def _refuse_mask(value: Any) -> Any:
    """What was shown as `***` would be run or kept as `***`: whoever sends it back has not seen what it was."""
    if holds_mask(value):
        raise PydanticCustomError("hidden_value", "*** stands for a value that is not shown: send the value itself")
    return value


NotMasked = AfterValidator(_refuse_mask)

_EXAMPLE: dict[str, Any] = {
    "name": "数据处理任务",
    "task_type": "data_processing",
    "celery_task_name": "app.tasks.common_tasks.long_running_task",
    "args": [60],
    "kwargs": {"param": "value"},
    "priority": "normal",
}


# Made anew: `[]` itself would go through `copy.deepcopy` for each task.
_EMPTY_LIST: dict[str, Any] = {"default_factory": list, "json_schema_extra": {"default": []}}
_EMPTY_OBJECT: dict[str, Any] = {"default_factory": dict, "json_schema_extra": {"default": {}}}


class TaskCreate(RequestModel):
    """What to run, when, and how often it may fail."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    name: ShortText = Field(description="A name for people.", examples=["数据处理任务"])
    task_type: ShortText = Field(description="Your own grouping, to filter by.", examples=["data_processing"])
    celery_task_name: ShortText = Field(
        description="One of GET /tasks/types.", examples=["app.tasks.common_tasks.long_running_task"]
    )
    args: Annotated[JSONArray, NotMasked] = Field(**_EMPTY_LIST, description="Positional arguments.", examples=[[60]])
    kwargs: Annotated[JSONObject, NotMasked] = Field(
        **_EMPTY_OBJECT,
        description="Keyword arguments. What stands below a key that names a secret (password, token, api_key, …) is "
        "shown as `***` from now on.",
        examples=[{"param": "value"}],
    )
    priority: PriorityIn = Field(
        TaskPriority.NORMAL,
        description="low, normal, high or critical; also 1–4 in that order, and urgent for critical.",
        examples=["normal"],
    )
    run_at: Moment | None = Field(
        None, description="Not before this time (RFC 3339 with an offset).", examples=["2030-01-01T08:00:00Z"]
    )
    delay_seconds: Seconds | None = Field(
        None, description="Not before this many seconds from now; instead of run_at.", examples=[30]
    )
    expires_at: Moment | None = Field(
        None, description="Revoked if it has not started by then.", examples=["2030-01-02T08:00:00Z"]
    )
    timeout_seconds: Annotated[float, Field(gt=0, le=MAX_SECONDS), Number] | None = Field(
        None, description="Hard limit of one attempt; its process is killed then.", examples=[600]
    )
    max_attempts: Annotated[int, Field(ge=1, le=100), Number] | None = Field(
        None, description="How often the body may fail; the task's own default where left out.", examples=[3]
    )
    retry_backoff_seconds: Seconds | None = Field(
        None, description="Wait before the second attempt; doubles with each one after that.", examples=[5]
    )
    tags: list[Tag] = Field(**_EMPTY_LIST, max_length=MAX_TAGS, description="To filter by.", examples=[["nightly"]])
    metadata: Annotated[SearchableObject, NotMasked] = Field(
        **_EMPTY_OBJECT, description="Any JSON object of yours.", examples=[{"order": 17}]
    )

    @field_validator("kwargs")
    @classmethod
    def _within_limit_with_args(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        """MAX_ARGUMENTS_BYTES is for both together; `args` alone were looked at before."""
        value = dumped(value)
        check_size(json_size(info.data.get("args", [])) + json_size(value), get_settings().max_arguments_bytes)
        return value

    @model_validator(mode="after")
    def _one_start(self) -> Self:
        if self.run_at is not None and self.delay_seconds is not None:
            raise PydanticCustomError("start_given_twice", "Give run_at or delay_seconds, not both")
        if self.run_at is not None and self.expires_at is not None and self.expires_at <= self.run_at:
            raise PydanticCustomError("expires_before_start", "expires_at must be later than run_at")
        return self


class TaskBatchCreate(RequestModel):
    """Tasks that are accepted together or not at all."""

    tasks: list[TaskCreate] = Field(
        min_length=1, max_length=MAX_BATCH, description="Each as POST /tasks/ takes it.", examples=[[_EXAMPLE]]
    )


class TaskPatch(PatchModel):
    """What is left out stays. `priority`, `run_at` and `expires_at` can be changed while the task is pending.

    `status`, `progress`, `progress_detail` and `result` are the administrators', and go through the state machine.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "a better name", "tags": ["nightly"]}]})

    nullable = frozenset({"run_at", "expires_at", "progress_detail", "result"})

    name: ShortText | SkipJsonSchema[None] = Field(None, description="A name for people.", examples=["better"])
    tags: list[Tag] | SkipJsonSchema[None] = Field(None, max_length=MAX_TAGS, description="Replaces the tags.")
    metadata: SearchableObject | SkipJsonSchema[None] = Field(
        None,
        description="Replaces the metadata. A `***` that was shown for a secret keeps the secret that stands there.",
    )
    priority: PriorityIn | SkipJsonSchema[None] = Field(None, description="Moves a pending task to its queue.")
    run_at: Moment | None = Field(None, description="null: as soon as possible.")
    expires_at: Moment | None = Field(None, description="null: never.")
    status: TaskStatus | SkipJsonSchema[None] = Field(
        None, description="Administrators: revoked, succeeded or failed.", examples=["revoked"]
    )
    progress: Annotated[int, Field(ge=0, le=100), Number] | SkipJsonSchema[None] = Field(
        None, description="Administrators: percent done."
    )
    progress_detail: Annotated[JSONValue, NotMasked] = Field(
        None, description="Administrators: any JSON about the progress."
    )
    result: Annotated[JSONValue, NotMasked] = Field(
        None, description="Administrators: the result, with status succeeded."
    )


class TaskError(BaseModel):
    """Why the last attempt failed."""

    type: str = Field(description="The exception's class.", examples=["ValueError"])
    message: Annotated[str | None, ShownText] = Field(
        description="Its message, without secrets.", examples=["duration must not be negative"]
    )


class TaskRead(BaseModel):  # type: ignore[no-redef]  # the plugin gives __init__ its own kwargs
    """A task as it stands: always a committed state."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID = Field(description="UUID version 7: orders by time of creation.")
    celery_id: UUID = Field(description="The id of Celery's message; a retry through the API gets a new one.")
    user_id: UUID = Field(description="Whose it is.")
    name: str
    task_type: str
    celery_task_name: str
    args: list[Any] = Field(description="`***` in place of what goes to a parameter named like a secret.")
    kwargs: Annotated[dict[str, Any], Shown] = Field(description="`***` below keys that name a secret.")
    priority: TaskPriority
    queue: str = Field(description="high_priority, default or low_priority.", examples=["default"])
    status: TaskStatus
    status_reason: str | None = Field(description="Why it was revoked: cancelled, expired, ignored, stopped.")
    progress: int = Field(description="Percent, 0–100.", examples=[50])
    progress_detail: Annotated[Any | None, Shown] = Field(description="What the task last said of its progress.")
    result: Annotated[Any | None, Shown] = Field(description="What the body returned; null unless it succeeded.")
    error: TaskError | None = Field(description="null unless the last attempt failed.")
    run_at: datetime | None
    delay_seconds: float | None
    expires_at: datetime | None
    timeout_seconds: float | None
    max_attempts: int = Field(description="How often the body may fail.")
    retry_backoff_seconds: float | None
    tags: list[str]
    metadata: Annotated[dict[str, Any], Shown] = Field(validation_alias="metadata_")
    unique_key: str | None = Field(None, description="Nothing fills it yet.")
    depends_on: list[UUID] | None = Field(None, description="Nothing fills it yet.")
    webhook_url: str | None = Field(None, description="Nothing fills it yet.")
    attempt: int = Field(description="Starts so far, lost ones included.", examples=[1])
    worker: str | None = Field(description="Who runs it, or ran it last.", examples=["worker1@host"])
    version: int = Field(description="Grows by one with each change that a client can see; the ETag.")
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None = Field(description="Of the last attempt.")
    finished_at: datetime | None
    cancel_requested_at: datetime | None

    @field_validator("args")
    @classmethod
    def _hide_by_parameter(cls, args: list[Any], info: ValidationInfo) -> list[Any]:
        return redact_args(info.data.get("celery_task_name", ""), args)


class TaskBatchRead(BaseModel):
    """The tasks of a batch, in the order of the request."""

    tasks: list[TaskRead]


class TaskCounts(BaseModel):
    """Exact numbers of tasks."""

    total: int = Field(examples=[8])
    pending: int = Field(0, examples=[1])
    running: int = Field(0, examples=[2])
    succeeded: int = Field(0, examples=[5])
    failed: int = Field(0, examples=[0])
    revoked: int = Field(0, examples=[0])


class TaskAttemptRead(BaseModel):
    """One start of a task."""

    model_config = ConfigDict(from_attributes=True)

    number: int = Field(description="1 for the first start.", examples=[1])
    worker: str | None = Field(examples=["worker1@host"])
    started_at: datetime
    finished_at: datetime | None = Field(description="null while it runs.")
    outcome: AttemptOutcome
    error_type: str | None = Field(examples=["worker_lost"])
    error_message: Annotated[str | None, ShownText] = Field(examples=["the worker process was lost"])
    traceback: Annotated[str | None, ShownText] = Field(
        description="Of the exception, where there was one, without secrets."
    )


class TaskTypeRead(BaseModel):
    """A kind of task that may be created."""

    model_config = ConfigDict(from_attributes=True)

    celery_task_name: str = Field(examples=["app.tasks.common_tasks.long_running_task"])
    summary: str = Field(description="One line.", examples=["Take a given time, in equal steps."])
    description: str = Field(description="The rest of the task's documentation.")
    parameters: dict[str, Any] = Field(description="JSON Schema of its parameters, by name.")
    default_queue: str = Field(description="Where it goes with priority normal.", examples=["default"])
    time_limit: float | None = Field(description="Seconds, unless timeout_seconds says otherwise.")
