"""Reads single tasks for async callers: tasks that are requested together are read in one statement.

Large tasks are read alone, in a thread of their user's share, so that no other request waits for them.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

from app.core.batcher import Batcher
from app.core.fair_threads import FairThreads
from app.db.session import group_engine
from app.schemas.task import TaskRead
from app.services.accounts.auth_service import Principal
from app.services.tasks import task_queries


class ReadTask(NamedTuple):
    """A task, and its JSON where a thread has rendered it already."""

    task: TaskRead
    json: bytes | None = None


class TaskLookup:
    """Reads single tasks. One for each event loop."""

    def __init__(self, threads: FairThreads) -> None:
        self._threads = threads
        self.batcher: Batcher[UUID, dict[str, Any] | None] = Batcher(_read, "task-lookup")

    async def read(self, task_id: UUID, user: Principal) -> ReadTask:
        """Return the committed task, if the user may see it. Raises TaskNotFound, TooManyWaiting, Overloaded."""
        row = await self.batcher.submit(task_id, user.id)
        if row is None or (user.owner is not None and row["user_id"] != user.owner):
            # Large or not there. Another user's task takes the same way as none: the time tells nothing.
            return await self._threads.run(user.id, partial(_read_alone, task_id, user.owner))
        return ReadTask(TaskRead.model_validate(row))

    async def close(self) -> None:
        """Return when all accepted reads are done."""
        await self.batcher.close()


def _read(ids: list[UUID]) -> Sequence[dict[str, Any] | None]:
    with group_engine().connect() as connection:
        rows = task_queries.snapshots(connection, set(ids))
    return [rows.get(task_id) for task_id in ids]


def _read_alone(task_id: UUID, owner: UUID | None) -> ReadTask:
    with group_engine().connect() as connection:
        row = task_queries.snapshot(connection, task_id, owner)
    task = TaskRead.model_validate(row)
    return ReadTask(task, task.__pydantic_serializer__.to_json(task))
