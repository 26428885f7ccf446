"""Request and response bodies of workflows."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints, ValidatorFunctionWrapHandler, field_validator
from pydantic.config import JsonDict

from app.models.task import OnConflict, TaskStatus
from app.models.workflow import OnFailure
from app.schemas.base import RequestModel, ResponseModel, validate_items
from app.schemas.task import MAX_BATCH, TASK_CREATE, TaskCounts, TaskCreate
from app.schemas.values import ShortText, without_nul

MAX_REF = 64
# Of all tasks of a workflow together.
MAX_EDGES = 10_000
_ID = "019a1f3c-7b1e-7c3a-9f57-3b1f4a0c2d13"
_TASK: JsonDict = {k: TASK_CREATE[k] for k in ("name", "task_type", "celery_task_name", "args")}
_EXAMPLE: JsonDict = {
    "name": "nightly import",
    "tasks": [{"ref": "load", **_TASK}, {"ref": "report", **_TASK, "depends_on": ["load"]}],
}

Ref = Annotated[str, StringConstraints(min_length=1, max_length=MAX_REF), AfterValidator(without_nul)]


class WorkflowTask(TaskCreate):
    """A task of a workflow: as in `POST /tasks/`, with a name of its own."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"ref": "load", **_TASK}]})

    ref: Ref = Field(description="Names the task in the workflow.", examples=["load"])
    depends_on: list[Ref] = Field(  # type: ignore[assignment]  # refs, of which ids are made
        default_factory=list,
        max_length=MAX_BATCH,
        description="The refs of tasks that must have succeeded before it starts. A `$result` in `args` or `kwargs` "
        "adds its own.",
        examples=[[]],
        json_schema_extra={"default": []},
    )

    on_conflict: Literal[OnConflict.REJECT] = Field(
        OnConflict.REJECT, description="What happens when the `unique_key` is taken: the workflow is refused."
    )


class WorkflowCreate(RequestModel):
    """Tasks that are all accepted, or all refused, and what each of them waits for."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    name: ShortText = Field(description="A name for people.", examples=["nightly import"])
    on_failure: OnFailure = Field(
        OnFailure.CANCEL,
        description="What becomes of tasks that depend on one which failed or was revoked. `cancel`: they are revoked "
        "with `status_reason: parent_failed`. `continue`: they run, and a `$result` of it is null.",
    )
    tasks: list[WorkflowTask] = Field(
        min_length=1,
        max_length=MAX_BATCH,
        description='The tasks, in any order. In `args` and `kwargs`, `{"$result": ref, "path": […]}` stands for '
        'the result of a task, or what is in it. `{"$literal": x}` stands for x.',
    )

    @field_validator("tasks", mode="wrap")
    @classmethod
    def _one_by_one(cls, tasks: Any, validate: ValidatorFunctionWrapHandler) -> list[WorkflowTask]:
        return validate_items(WorkflowTask, tasks, MAX_BATCH) if isinstance(tasks, list) and tasks else validate(tasks)


# As an answer shows it.
EXAMPLE: dict[str, Any] = {
    "id": _ID, "user_id": "019a1f3c-7b1e-7c3a-9f57-3b1f4a0c2d10", "name": "nightly import", "on_failure": "cancel",
    "status": "running", "counts": {"total": 1, "pending": 0, "running": 1, "succeeded": 0, "failed": 0, "revoked": 0},
    "version": 3, "created_at": "2030-01-01T03:00:00Z", "started_at": "2030-01-01T03:00:01Z", "finished_at": None,
    "tasks": [{"ref": "load", "id": "019a1f3c-7b1e-7c3a-9f57-3b1f4a0c2d11", "status": "running", "depends_on": []}],
}  # fmt: skip


class WorkflowNodeRead(ResponseModel):
    """A task of a workflow."""

    ref: str = Field(description="Its name in the workflow.", examples=["load"])
    id: UUID | None = Field(description="The task's id; null once it is deleted.")
    status: TaskStatus = Field(description="Its status; that of a deleted task is the last one.")
    depends_on: list[str] = Field(description="The refs of the tasks that it waits for.", examples=[[]])


class WorkflowSummary(ResponseModel):
    """A workflow without its tasks."""

    id: UUID = Field(description="The workflow's id.", examples=[_ID])
    user_id: UUID = Field(description="The owner's id.")
    name: str = Field(description="A name for people.", examples=["nightly import"])
    on_failure: OnFailure = Field(description="What becomes of tasks that depend on one which failed or was revoked.")
    status: TaskStatus = Field(
        description="`pending` until a task starts, `running` until all have ended. Then `failed` if one failed, else "
        "`revoked` if one was revoked, else `succeeded`."
    )
    counts: TaskCounts = Field(description="Its tasks by their status.")
    version: int = Field(description="Changes with each change of one of its tasks.", examples=[3])
    created_at: datetime = Field(description="When it was accepted, in UTC.")
    started_at: datetime | None = Field(description="When the first of its tasks started that is not deleted, in UTC.")
    finished_at: datetime | None = Field(description="When the last of its tasks ended, in UTC.")


class WorkflowRead(WorkflowSummary):
    """A workflow."""

    tasks: list[WorkflowNodeRead] = Field(description="Its tasks, in the order of the request.")
