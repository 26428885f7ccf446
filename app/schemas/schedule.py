"""Request and response bodies of schedules."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    StrictBool,
    StringConstraints,
    field_validator,
    model_validator,
)
from pydantic.config import JsonDict
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from app.catalogue import redact_args
from app.core.redacted_text import redact_text
from app.core.redaction import redact
from app.models.schedule import SkipCode
from app.schedules.policies import CatchUp, Overlap
from app.schemas.base import PatchModel, RequestModel, ResponseModel
from app.schemas.task import MAX_TAGS, TASK_CREATE, TaskCreate
from app.schemas.task_changes import changes_of
from app.schemas.values import Moment, NotMasked, Number, SearchableObject, Seconds, ShortText, Shown, Tag, without_nul

# A schedule gives the times itself.
NOT_OF_SCHEDULES = ("run_at", "delay_seconds", "expires_at", "depends_on")
_OF_SCHEDULES = [name for name in TaskCreate.model_fields if name not in NOT_OF_SCHEDULES]
_ID = "019a1f3c-7b1e-7c3a-9f57-3b1f4a0c2d12"
_TASK: JsonDict = {"name": "report", "task_type": "report", **{k: TASK_CREATE[k] for k in ("celery_task_name", "args")}}
_EXAMPLE: JsonDict = {"name": "nightly report", "task": _TASK, "cron": "0 3 * * *", "timezone": "Europe/Berlin"}

CronLine = Annotated[str, StringConstraints(min_length=1, max_length=250), AfterValidator(without_nul)]
ZoneName = Annotated[str, StringConstraints(min_length=1, max_length=100), AfterValidator(without_nul)]
Interval = Annotated[float, Field(ge=1), Number]


class ScheduledTask(TaskCreate):
    """The task that a schedule makes at each of its times: as in `POST /tasks/`, without times of its own."""

    model_config = ConfigDict(json_schema_extra={"examples": [_TASK]})

    @field_validator("depends_on", mode="before")
    @classmethod
    def _has_no_parents(cls, value: Any) -> None:
        if value is not None:
            raise PydanticCustomError("not_of_schedules", "The task of a schedule depends on no other")

    @field_validator("run_at", "delay_seconds", "expires_at", mode="before")
    @classmethod
    def _has_no_time(cls, value: Any) -> None:
        if value is not None:
            raise PydanticCustomError("not_of_schedules", "The schedule gives the time")

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler, /) -> JsonSchemaValue:
        described = handler(schema)
        fields = handler.resolve_ref_schema(described)["properties"]
        for name in NOT_OF_SCHEDULES:
            fields.pop(name, None)
        return described


class ScheduleCreate(RequestModel):
    """A task, and when it is to be made: by a cron line, or at an interval."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [_EXAMPLE, {"name": "every minute", "task": _TASK, "every_seconds": 60}]}
    )

    name: ShortText = Field(description="A name for people.", examples=["nightly report"])
    task: ScheduledTask = Field(description="The task that is made at each time. It is checked as in `POST /tasks/`.")
    cron: CronLine | None = Field(
        None,
        description="Five fields, as in a crontab of Debian, or one of `@hourly`, `@daily`, `@midnight`, `@weekly`, "
        "`@monthly`, `@yearly` and `@annually`. Exactly one of `cron` and `every_seconds`.",
        examples=["0 3 * * *"],
    )
    every_seconds: Interval | None = Field(
        None, description="The time from one task to the next. The first time is `start_at`.", examples=[None]
    )
    timezone: ZoneName = Field("UTC", description="The zone of the cron line (IANA).", examples=["Europe/Berlin"])
    start_at: Moment | None = Field(
        None, description="No time is before it. Default for `every_seconds`: the creation.", examples=[None]
    )
    end_at: Moment | None = Field(None, description="No time is after it.", examples=[None])
    jitter_seconds: Seconds = Field(
        0, description="Each task starts later by up to so many seconds, always the same ones for one time."
    )
    overlap: Overlap = Field(
        Overlap.SKIP,
        description="What becomes of a time while a task that the schedule fired by itself is pending or running. "
        "`skip`: it is skipped. `allow`: both run. `buffer_one`: one time waits for the end, further ones are skipped. "
        "`cancel_running`: the old task is cancelled, and the new one starts once that has ended.",
    )
    catch_up: CatchUp = Field(
        CatchUp.LATEST,
        description="What becomes of times that were missed, as no process was there or the schedule was paused. "
        "`none`: they are skipped. `latest`: the last one is run. `all`: each is run.",
    )
    catch_up_seconds: Seconds = Field(3600, description="Times that are later than so many seconds are not caught up.")
    paused: StrictBool = Field(False, description="Whether it begins paused.")
    tags: list[Tag] = Field(
        default_factory=list,
        max_length=MAX_TAGS,
        description="Labels of the schedule, for the filter.",
        examples=[["nightly"]],
        json_schema_extra={"default": []},
    )
    metadata: Annotated[SearchableObject, NotMasked] = Field(
        default_factory=dict,
        description="Your own data, a JSON object.",
        examples=[{}],
        json_schema_extra={"default": {}},
    )

    @model_validator(mode="after")
    def _has_one_timing(self) -> Self:
        if (self.cron is None) == (self.every_seconds is None):
            raise PydanticCustomError("one_timing", "Send exactly one of cron and every_seconds")
        return self


_TaskChanges: Any = changes_of(_OF_SCHEDULES)


class ScheduledTaskPatch(_TaskChanges):  # type: ignore[misc]  # its fields are those of TaskCreate
    """Changes of the task. Omitted fields keep their values."""

    nullable = frozenset(name for name in _OF_SCHEDULES if TaskCreate.model_fields[name].default is None)


class SchedulePatch(PatchModel):
    """Changes of a schedule. Omitted fields keep their values.

    A changed timing counts from now on: no time of the past is made up. `cron` takes the place of `every_seconds`, and
    the other way round.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [{"cron": "30 4 * * *"}]})
    nullable = frozenset({"cron", "every_seconds", "start_at", "end_at"})

    name: ShortText | None = Field(None, description="A name for people.", examples=["better"])
    task: ScheduledTaskPatch | None = Field(
        None,
        description="Fields of the task. A `***` keeps the secret that it hides. For an administrator or an API key, "
        "it does so only where every other argument is as it was.",
    )
    cron: CronLine | None = Field(None, description="The cron line.", examples=["30 4 * * *"])
    every_seconds: Interval | None = Field(None, description="The time from one task to the next.", examples=[None])
    timezone: ZoneName | None = Field(None, description="The zone of the cron line.", examples=["Asia/Shanghai"])
    start_at: Moment | None = Field(None, description="No time is before it.", examples=[None])
    end_at: Moment | None = Field(None, description="No time is after it.", examples=[None])
    jitter_seconds: Seconds | None = Field(None, description="The greatest delay of a start.", examples=[60])
    overlap: Overlap | None = Field(None, description="As in `POST /schedules/`.", examples=["allow"])
    catch_up: CatchUp | None = Field(None, description="As in `POST /schedules/`.", examples=["all"])
    catch_up_seconds: Seconds | None = Field(None, description="As in `POST /schedules/`.", examples=[600])
    paused: StrictBool | None = Field(None, description="As `/pause` and `/resume`.", examples=[False])
    tags: list[Tag] | None = Field(None, max_length=MAX_TAGS, description="Replaces the tags.", examples=[["nightly"]])
    metadata: SearchableObject | None = Field(
        None, description="Replaces the metadata. A `***` keeps the secret that it hides.", examples=[{}]
    )


def _hidden(task: Any) -> Any:
    """Return the task with its secrets hidden, as an answer shows those of a task."""
    if not isinstance(task, Mapping):
        return task
    hidden = {name: redact(task[name]) for name in ("kwargs", "metadata") if name in task}
    if "args" in task:
        hidden["args"] = redact_args(task["celery_task_name"], task["args"])
    if task.get("webhook_url") is not None:
        hidden["webhook_url"] = redact_text(task["webhook_url"])
    return {**task, **hidden}


class ScheduleRead(ResponseModel):
    """A schedule."""

    id: UUID = Field(description="The schedule's id.", examples=[_ID])
    user_id: UUID = Field(description="The owner's id.")
    name: str = Field(description="A name for people.", examples=["nightly report"])
    task: Annotated[dict[str, Any], BeforeValidator(_hidden)] = Field(
        description="The task that is made, with the fields that were given. `***` hides secrets as in a task.",
        examples=[_TASK],
    )
    cron: str | None = Field(description="The cron line.", examples=["0 3 * * *"])
    every_seconds: float | None = Field(description="The time from one task to the next.")
    timezone: str = Field(description="The zone of the cron line.", examples=["Europe/Berlin"])
    start_at: datetime | None = Field(description="No time is before it, in UTC.")
    end_at: datetime | None = Field(description="No time is after it, in UTC.")
    jitter_seconds: float = Field(description="The greatest delay of a start.")
    overlap: Overlap = Field(description="What becomes of a time while an earlier task is pending or running.")
    catch_up: CatchUp = Field(description="What becomes of times that were missed.")
    catch_up_seconds: float = Field(description="Times that are later than so many seconds are not caught up.")
    paused: bool = Field(description="Whether it is paused.")
    pause_reason: str | None = Field(
        description="Why the service paused it: its timing does not work any more. null if its owner did.",
        examples=[None],
    )
    tags: list[str] = Field(description="Labels, for the filter.")
    metadata: Annotated[dict[str, Any], Shown] = Field(
        validation_alias="metadata_",
        description="The owner's own data. `***` hides values below keys that name a secret.",
    )
    created_at: datetime = Field(description="When it was made, in UTC.")
    updated_at: datetime = Field(description="When a client changed it last, in UTC.")
    next_run_at: datetime | None = Field(
        description="Its next nominal time, in UTC. null while it is paused, and once it has ended."
    )
    last_run_at: datetime | None = Field(description="When it made a task last, in UTC.")
    last_task_id: UUID | None = Field(description="That task.")
    runs: int = Field(description="How many tasks it has made.", examples=[12])
    skipped: int = Field(description="How many of its times were skipped or missed.", examples=[0])


class ScheduledTime(ResponseModel):
    """A time to come."""

    scheduled_for: datetime = Field(description="The nominal time, in UTC.")
    run_at: datetime = Field(description="When the task starts: the nominal time and its jitter, in UTC.")


class ScheduleRunRead(ResponseModel):
    """What became of a time."""

    scheduled_for: datetime = Field(description="The nominal time, in UTC; of a trigger, the time of the call.")
    task_id: UUID | None = Field(description="The task; it may be deleted. null for a time that was skipped.")
    skipped: SkipCode | None = Field(
        description="Why there is no task. `overlap`: an earlier one was pending or running. `quota`: a quota of the "
        "owner was exhausted. `invalid_arguments`: the task is gone, or does not take these arguments any more. "
        "`inactive_user`: the owner is not active. `unique_key_taken`, `limit_reached`, `priority_not_allowed`: as a "
        "submit is refused. `missed`: it was too late, or the schedule was paused.",
        examples=[None],
    )
    count: int | None = Field(description="For several missed times: how many. Else null.", examples=[None])
    until: datetime | None = Field(description="For several missed times: the last one. Else null.")
    by: str = Field(description="`schedule`, `trigger` or `backfill`.", examples=["schedule"])


class BackfillRequest(RequestModel):
    """From when to when to make the tasks of times that have none."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"from": "2026-01-01T00:00:00Z", "to": "2026-01-08T00:00:00Z"}]}
    )

    from_: Moment = Field(alias="from", description="The first nominal time, if it is one.")
    to: Moment = Field(description="The last nominal time, if it is one. Times to come are left out.")
    dry_run: StrictBool = Field(False, description="Only say which times.", examples=[False])

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.to < self.from_:
            raise PydanticCustomError("empty_range", "to must not be before from")
        return self


class BackfillRead(ResponseModel):
    """The tasks of a backfill."""

    count: int = Field(description="How many tasks were made.", examples=[1])
    task_ids: list[UUID] = Field(description="The tasks, the earliest time first.")


class BackfillPreview(ResponseModel):
    """What a backfill would make."""

    count: int = Field(description="How many tasks it would make.", examples=[1])
    scheduled_for: list[datetime] = Field(description="Their nominal times: the first 100, in UTC.")
