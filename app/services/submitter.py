"""Accepting one task from an async caller: answered once its row is committed, published outside the commit.

The interface is asynchronous so that tasks submitted at the same time can share one transaction.
"""

from uuid import UUID

from anyio import to_thread

from app.db.session import SessionLocal
from app.models.task import Task
from app.schemas.task import TaskCreate
from app.services.task_service import task_service


class Submitter:
    """One for each API process."""

    async def submit(self, wanted: TaskCreate, user_id: UUID) -> Task:
        """The committed task. Raises UnknownTask, InvalidArguments."""
        return await to_thread.run_sync(self._accept, wanted, user_id)

    def _accept(self, wanted: TaskCreate, user_id: UUID) -> Task:
        with SessionLocal() as db:
            (task,) = task_service.create_tasks(db, [wanted], user_id)
            return task


submitter = Submitter()
