"""Reads single tasks for async callers: tasks that are requested together are read in one statement."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from anyio import CapacityLimiter, to_thread

from app.core.batcher import Batcher
from app.core.json_text import SMALL_BYTES
from app.db.session import group_engine
from app.errors import TaskNotFound
from app.schemas.task import TaskRead
from app.services.tasks import task_queries


class TaskLookup:
    """Reads single tasks. One for each event loop. `large` limits the threads that work on large results."""

    def __init__(self, large: CapacityLimiter | None = None) -> None:
        self._large = large
        self.batcher: Batcher[UUID, dict[str, Any] | None] = Batcher(_read, "task-lookup")

    async def read(self, task_id: UUID, owner: UUID | None = None) -> TaskRead:
        """Return the committed task. `owner` limits it to that user's tasks. Raises TaskNotFound, Overloaded."""
        row = await self.batcher.submit(task_id)
        if row is None or (owner is not None and row["user_id"] != owner):
            raise TaskNotFound
        if row["json_bytes"] <= SMALL_BYTES:
            return TaskRead.model_validate(row)
        return await to_thread.run_sync(TaskRead.model_validate, row, limiter=self._large)

    async def close(self) -> None:
        """Return when all accepted reads are done."""
        await self.batcher.close()


def _read(ids: list[UUID]) -> Sequence[dict[str, Any] | None]:
    with group_engine().connect() as connection:
        rows = task_queries.snapshots(connection, set(ids))
    return [rows.get(task_id) for task_id in ids]
