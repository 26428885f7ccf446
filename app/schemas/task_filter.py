"""The filter of tasks as JSON: what a list takes as its query parameters. `app/api/task_filters.py` has those."""

from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import BeforeValidator, ConfigDict, Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from app.models.task import TaskStatus, WaitingReason
from app.schemas.base import RequestModel
from app.schemas.error_group import Fingerprint
from app.schemas.json_value import ShortText, Tag
from app.schemas.task_values import Moment, PriorityIn

MAX_VALUES = 20


class _OneOrMany:
    """Takes a single value for a list of one, and says so in the JSON Schema."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler, /) -> JsonSchemaValue:
        many = handler(schema)
        return {"anyOf": [many["items"], many]}


_LISTED = (BeforeValidator(lambda value: [value] if isinstance(value, str) else value), _OneOrMany())


class TaskFilterIn(RequestModel):
    """A filter of tasks, with the fields of the list's query. At least one of them is set."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"status": ["failed"], "task_type": "data_processing"}]})

    status: Annotated[list[TaskStatus], Field(max_length=MAX_VALUES), *_LISTED] | None = Field(
        None, description="Tasks in any of these states.", examples=[["failed"]]
    )
    task_type: ShortText | None = Field(None, description="Tasks with this task_type.", examples=["data_processing"])
    celery_task_name: ShortText | None = Field(
        None, description="Tasks that run this task.", examples=["app.tasks.common_tasks.long_running_task"]
    )
    priority: PriorityIn | None = Field(None, description="Tasks with this priority.", examples=["low"])
    queue: ShortText | None = Field(None, description="Tasks in this queue.", examples=["default"])
    tag: Annotated[list[Tag], Field(max_length=MAX_VALUES), *_LISTED] | None = Field(
        None, description="Tasks with all of these tags.", examples=[["nightly"]]
    )
    name: ShortText | None = Field(None, description="Tasks whose name contains this text, ignoring case.")
    waiting_for: WaitingReason | None = Field(
        None, description="Pending tasks that wait for this reason.", examples=[None]
    )
    error: Fingerprint | None = Field(
        None,
        description="Tasks that are failed with this error: a `fingerprint` of `GET /errors/`.",
        examples=[None],
    )
    created_after: Moment | None = Field(None, description="Tasks created after this time.")
    created_before: Moment | None = Field(None, description="Tasks created before this time.")
    user_id: UUID | Literal["all"] | None = Field(
        None, description="Administrators: the tasks of this user, or of `all` users. Default: your tasks."
    )

    @model_validator(mode="after")
    def _names_something(self) -> Self:
        if not self.named():
            raise PydanticCustomError("empty_filter", "The filter is empty: it would match all tasks")
        return self

    def named(self) -> dict[str, Any]:
        """The fields that are set, as a TaskFilter takes them."""
        return {name: value for name, value in self if value not in (None, [])}
