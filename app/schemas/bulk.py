"""Request and response bodies of bulk operations."""

from datetime import datetime
from typing import Self
from uuid import UUID

from pydantic import ConfigDict, Field, StrictBool, model_validator
from pydantic_core import PydanticCustomError

from app.models.bulk import Deed, DeedState
from app.schemas.base import RequestModel, ResponseModel
from app.schemas.task import TaskRead
from app.schemas.task_filter import TaskFilterIn

MAX_IDS = 1000
# A token holds the filter or the ids.
MAX_TOKEN = 64 * 1024

_ID = "019a1f3c-7b1e-7c3a-9f57-3b1f4a0c2d11"


class BulkRequest(RequestModel):
    """Which tasks: their ids; or a filter with `dry_run`, and then the token of that answer."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"ids": [_ID]}, {"filter": {"status": ["failed"]}, "dry_run": True}]}
    )

    ids: list[UUID] | None = Field(
        None, min_length=1, max_length=MAX_IDS, description="The tasks. Exclusive with `filter`.", examples=[[_ID]]
    )
    filter: TaskFilterIn | None = Field(
        None, description="All tasks that match, as in the list, on whatever page.", examples=[None]
    )
    dry_run: StrictBool = Field(
        False, description="Only say how many tasks match, show some, and give a token.", examples=[False]
    )
    token: str | None = Field(
        None,
        min_length=1,
        max_length=MAX_TOKEN,
        description="The token of a dry run, valid for ten minutes. It needs no `ids` or `filter`, or the same. Tasks "
        "that were created after the dry run are not touched.",
        examples=[None],
    )

    @model_validator(mode="after")
    def _fields_fit_together(self) -> Self:
        if self.ids is not None and self.filter is not None:
            raise PydanticCustomError("ids_and_filter", "Send ids or filter, not both")
        if self.dry_run and self.token is not None:
            raise PydanticCustomError("token_in_dry_run", "A dry run takes no token: it gives one")
        if self.ids is None and self.filter is None and self.token is None:
            raise PydanticCustomError("nothing_selected", "Send ids, or filter, or the token of a dry run")
        return self


class BulkPreview(ResponseModel):
    """What a dry run shows. Nothing was changed."""

    matched: int = Field(description="The number of tasks that match now, exact.", examples=[2000])
    sample: list[TaskRead] = Field(description="Ten of these tasks at most. None for an API key without `tasks:read`.")
    token: str = Field(description="Send it within ten minutes to change these tasks.", examples=["AaBbCc"])


class BulkAccepted(ResponseModel):
    """The operation is committed. It ends even if servers are killed."""

    id: UUID = Field(description="The operation's id.", examples=[_ID])
    matched: int = Field(description="The number of tasks that matched when it was accepted, exact.", examples=[2000])


class BulkRead(BulkAccepted):
    """A bulk operation and how far it is."""

    deed: Deed = Field(description="What is done to the tasks.", examples=["retry"])
    state: DeedState = Field(
        description="`running`, `finished`, or `aborted`: by a call, or because its user was deactivated.",
        examples=["finished"],
    )
    done: int = Field(description="Tasks that were changed, or were already as wanted.", examples=[1990])
    failed: int = Field(description="Tasks at which the service failed unexpectedly. Its log says why.", examples=[0])
    skipped: dict[str, int] = Field(
        description="Tasks that were left as they are, by the `code` that the call for one task would answer. "
        "Unknown ids and others' tasks are `task_not_found`.",
        examples=[{"invalid_transition": 10}],
    )
    created_at: datetime = Field(description="When it was accepted, in UTC.")
    finished_at: datetime | None = Field(description="When it ended, in UTC. null while it runs.")
