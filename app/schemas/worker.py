"""Response bodies of workers."""

from datetime import datetime
from uuid import UUID

from pydantic import Field

from app.models.worker import WorkerState
from app.schemas.base import ResponseModel


class RunningTask(ResponseModel):
    """A task that a worker runs."""

    task_id: UUID = Field(validation_alias="id", description="The task's id.")
    name: str = Field(description="Its name.", examples=["nightly report"])
    celery_task_name: str = Field(description="The task that runs.", examples=["app.tasks.common_tasks.export_report"])
    started_at: datetime = Field(description="When the attempt started, in UTC.")
    progress: int = Field(description="The progress in percent.", examples=[50])


class WorkerRead(ResponseModel):
    """A worker process, what it runs, and what it said of itself at its last heartbeat."""

    name: str = Field(description="Celery's name of the node.", examples=["worker1@host"])
    host: str = Field(description="The part of the name after `@`.", examples=["host"])
    pid: int = Field(description="Its process id on its host.", examples=[4711])
    queues: list[str] = Field(description="The queues that it serves.", examples=[["high_priority", "default"]])
    concurrency: int = Field(description="How many tasks it can run at the same time.", examples=[2])
    running: list[RunningTask] = Field(description="The tasks that it runs.")
    started_at: datetime = Field(description="When it started, in UTC.")
    last_heartbeat_at: datetime = Field(description="When it last said that it lives, in UTC.")
    state: WorkerState = Field(
        description="`draining`: it takes nothing more and leaves. `lost`: no heartbeat for the time of the lease.",
        examples=["alive"],
    )
    processed: int = Field(
        description="Tasks that its processes have begun since its start, plain ones included.", examples=[1200]
    )
    version: str | None = Field(description="The release that it runs.", examples=["0.1.0"])
    build_id: str | None = Field(
        description="Your build of the tasks that it runs: its TASK_BUILD_ID.", examples=["2026-12-01.3"]
    )
    memory_bytes: int | None = Field(
        description="The memory of all its processes, shared pages counted once. null where it is not known.",
        examples=[180000000],
    )
