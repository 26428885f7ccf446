"""Request and response bodies of queues."""

from datetime import datetime
from uuid import UUID

from pydantic import Field

from app.schemas.base import RequestModel, ResponseModel
from app.schemas.values import ShortText


class QueuePause(RequestModel):
    """Why a queue is paused."""

    reason: ShortText = Field(description="Shown to all users.", examples=["database maintenance"])


class QueuePauseRead(ResponseModel):
    """Whether a queue is paused."""

    name: str = Field(description="The queue's name.", examples=["default"])
    paused: bool = Field(description="Whether the queue is paused: then none of its tasks starts.", examples=[False])
    paused_reason: str | None = Field(description="Why it is paused.", examples=[None])
    paused_by: UUID | None = Field(description="The administrator who paused it. null for other users.")
    paused_at: datetime | None = Field(description="When it was paused, in UTC.")


class QueueRead(QueuePauseRead):
    """A queue, the number of its tasks, and the workers that serve it."""

    pending: int = Field(description="Tasks that wait, for whatever reason.", examples=[3])
    ready: int = Field(description="Pending tasks whose time has come, whatever else they wait for.", examples=[2])
    startable: int = Field(description="Pending tasks that need nothing but a slot.", examples=[1])
    blocked: int = Field(
        description="Pending tasks that wait for others, whose queue is paused, or that none of its workers knows.",
        examples=[1],
    )
    limited: int = Field(description="Pending tasks that wait for a place of a limit or of their user.", examples=[0])
    scheduled: int = Field(
        description="Pending tasks that wait for their time or their next attempt. These four are `pending`.",
        examples=[1],
    )
    running: int = Field(description="Tasks that run.", examples=[1])
    oldest_ready_seconds: float | None = Field(
        description="For how long the oldest ready task has waited, in seconds.", examples=[0.4]
    )
    started_per_minute: int = Field(
        description="Tasks whose last attempt started within the last minute.", examples=[12]
    )
    workers: int = Field(description="Live workers that serve the queue.", examples=[1])
    slots: int = Field(description="Tasks that these workers can run at the same time.", examples=[2])


class DemandRead(ResponseModel):
    """How many slots a queue could use, for what starts and stops workers."""

    queue: str = Field(description="The queue's name.", examples=["default"])
    slots: int = Field(description="Tasks that the live workers of the queue can run at the same time.", examples=[2])
    running: int = Field(description="Tasks of the queue that run.", examples=[2])
    startable: int = Field(
        description="Pending tasks that need nothing but a slot, at most 10,000. 0 while the queue is paused. A task "
        "that no worker knows counts only where no worker serves the queue.",
        examples=[5],
    )
    more: bool = Field(description="Whether there are more of them.", examples=[False])
    slots_needed: int = Field(description="`startable` and `running` together.", examples=[7])
    oldest_startable_seconds: float | None = Field(
        description="For how long the oldest at the front of the queue has waited, in seconds.", examples=[1.5]
    )
