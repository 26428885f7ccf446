"""Accepting one task from an async caller: answered once its row is committed, published outside the commit.

The interface is asynchronous so that tasks submitted at the same time can share one transaction.
"""

from uuid import UUID

from anyio import to_thread

from app.db.session import SessionLocal
from app.schemas.task import TaskCreate
from app.services.idempotency import Accepted, create_once
from app.services.task_service import task_service


class Submitter:
    """One for each API process."""

    async def submit(self, wanted: TaskCreate, user_id: UUID, idempotency_key: str | None = None) -> Accepted:
        """The committed task; under a key, the one that it has if it has one.

        Raises QuotaExceeded, UnknownTask, InvalidArguments; with a key IdempotencyKeyReused, IdempotencyKeyInFlight,
        IdempotentTaskDeleted.
        """
        return await to_thread.run_sync(self._accept, wanted, user_id, idempotency_key)

    def _accept(self, wanted: TaskCreate, user_id: UUID, key: str | None) -> Accepted:
        with SessionLocal() as db:
            if key is not None:
                return create_once(db, wanted, user_id, key)
            (task,) = task_service.create_tasks(db, [wanted], user_id, within_quota=True)
            return Accepted(task)


submitter = Submitter()
