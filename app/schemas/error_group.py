"""Request and response bodies of groups of failures."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import Field

from app.models.error_group import ErrorState
from app.schemas.base import RequestModel, ResponseModel
from app.schemas.values import Moment, ShownText

EXAMPLE = "3f2a9c0d5e7b41868c1d2e3f4a5b6c7d"


class ErrorGroupIgnore(RequestModel):
    """For how long a group is ignored."""

    until: Moment | None = Field(
        None,
        description="The group is open again from this time on (RFC 3339 with an offset). Without it, until `/reopen`.",
        examples=["2099-01-01T00:00:00Z"],
    )


class ErrorGroupRead(ResponseModel):
    """Failures of one user's task that have the same cause, as far as the service can tell."""

    fingerprint: str = Field(
        description="Made of user, task, type of the error, place in the code, and message. The place is module and "
        "function of the innermost frame in the task's own code. Numbers, ids and quoted values of the message do not "
        "count.",
        examples=[EXAMPLE],
    )
    user_id: UUID = Field(description="Whose tasks they are.")
    celery_task_name: str = Field(
        description="The task that failed.", examples=["app.tasks.common_tasks.long_running_task"]
    )
    error_type: str = Field(description="The class of the exception, or `worker_lost`.", examples=["ValueError"])
    message: Annotated[str | None, ShownText] = Field(
        description="The message of one of the last failures, with secrets hidden, at most 500 characters of it.",
        examples=["duration must not be negative"],
    )
    count: int = Field(
        description="Tasks that are failed with it now; `GET /tasks/?error=…` lists them. Exact.", examples=[3]
    )
    first_seen: datetime = Field(description="The first failure, in UTC.")
    last_seen: datetime = Field(description="The last failure, in UTC.")
    state: ErrorState = Field(description="`open`, `resolved` until it fails again, or `ignored`.")
    ignored_until: datetime | None = Field(description="Until when it is ignored, in UTC. null: until it is reopened.")
    sample_task_ids: list[UUID] = Field(description="The newest of these tasks, at most five.")
    last_24h: list[int] = Field(
        description="Failures by hour, the oldest first. The last hour is not over yet.", examples=[[0] * 23 + [3]]
    )
