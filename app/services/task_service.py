"""Tasks: create, read, change, cancel, retry, delete.

Each method is one transaction, which `commit=False` leaves to the caller; what it dispatches then follows the caller's
outermost commit, and is forgotten by a rollback. `owner` limits a call to one user's tasks: another's is TaskNotFound,
exactly as one that does not exist.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from app.core.redacted_text import redact_text
from app.db.after_commit import after_commit
from app.db.session import transaction
from app.errors import InvalidTransition, PreconditionFailed, TaskActive, TaskCancelled, TaskNotFound
from app.messaging import hints
from app.messaging.dispatches import Dispatch
from app.messaging.publisher import publish
from app.models.audit import AuditEvent
from app.models.task import TERMINAL, Task, TaskAttempt, TaskStatus
from app.schemas.task import TaskCreate
from app.services.audit import recording as audit
from app.services.execution.results import check_size
from app.services.tasks import (
    task_changes,
    task_counts,
    task_creation,
    task_editing,
    task_pages,
    task_queries,
    task_reports,
)
from app.services.tasks.quotas import load_of, quotas
from app.services.tasks.task_filter import TaskFilter


class TaskService:
    """Stateless: `task_service` is the one that everybody shares, and a new one is as good."""

    # Create

    def create_task(
        self,
        db: Session,
        name: str,
        task_type: str,
        celery_task_name: str,
        args: list[Any] | None = None,
        kwargs: dict[str, Any] | None = None,
        priority: str | int = "normal",
        *,
        user_id: UUID,
        commit: bool = True,
        **options: Any,
    ) -> tuple[Task, str]:
        """Accept a task and have it run; `options` as in TaskCreate. Returns it and its Celery id.

        Raises InvalidTask, UnknownTask, InvalidArguments.
        """
        wanted = task_creation.parse(
            {
                "name": name,
                "task_type": task_type,
                "celery_task_name": celery_task_name,
                "args": args or [],
                "kwargs": kwargs or {},
                "priority": priority,
                **options,
            }
        )
        (task,) = self.create_tasks(db, [wanted], user_id, commit=commit)
        return task, str(task.celery_id)

    def create_tasks(
        self, db: Session, wanted: Sequence[TaskCreate], user_id: UUID, *, commit: bool = True,
        within_quota: bool = False,
    ) -> list[Task]:  # fmt: skip
        """Accept all of them or none, in one statement, in their order.

        Raises UnknownTask, InvalidArguments; where the user's quotas are to hold (the API's calls), QuotaExceeded.
        """
        rows = task_creation.rows_of(wanted, user_id)
        room = quotas.room(db, user_id, load_of(wanted)) if within_quota else nullcontext()
        with room, transaction(db, commit=commit):
            tasks = task_creation.insert_tasks(db, rows)
            hints.changes(db, *(task.id for task in tasks))
            self._dispatch(db, task_creation.due_now(tasks))
        return tasks

    # Read

    def get_task(self, db: Session, task_id: UUID, *, owner: UUID | None = None) -> Task:
        """The task as it is committed now. Raises TaskNotFound."""
        return task_queries.read(db, _id(task_id), owner)

    def get_tasks(
        self, db: Session, user_id: UUID | None = None, status: TaskStatus | str | None = None,
        task_type: str | None = None, skip: int = 0, limit: int = 50, **filters: Any,
    ) -> list[Task]:  # fmt: skip
        """Tasks, newest first; `filters` as in TaskFilter. `user_id=None` means everybody's."""
        return task_pages.first(db, _filter(user_id, status, task_type, filters), limit, skip=skip)

    def get_task_count(
        self, db: Session, user_id: UUID | None = None, status: TaskStatus | str | None = None,
        task_type: str | None = None, **filters: Any,
    ) -> int:  # fmt: skip
        """How many tasks there are, exactly; filters as in `get_tasks`."""
        return task_counts.count(db, _filter(user_id, status, task_type, filters))["total"]

    def list_page(
        self, db: Session, wanted: TaskFilter, limit: int, *, before: UUID | None = None, skip: int = 0
    ) -> tuple[list[Task], UUID | None]:
        """One page, newest first, and where the next one starts if there may be one.

        A page looks at so many rows and no further: with a filter that hardly any task fits it may come back short.
        """
        return task_pages.page(db, wanted, limit, before=before, skip=skip)

    def count(self, db: Session, wanted: TaskFilter) -> dict[str, int]:
        """Exact numbers, in all and by status."""
        return task_counts.count(db, wanted)

    def get_attempts(
        self, db: Session, task_id: UUID, *, owner: UUID | None = None
    ) -> list[TaskAttempt | dict[str, Any]]:
        """Every attempt, the current one included, oldest first. Raises TaskNotFound."""
        return task_queries.attempts(db, self.get_task(db, task_id, owner=owner))

    # Report: from a body, or from outside

    def update_task_progress(
        self, db: Session, task_id: UUID, progress: int, detail: Any | None = None, *, commit: bool = True
    ) -> Task:
        """Percent done and any JSON about it. In a running body it speaks for that body's attempt alone.

        Raises ValueError for a number outside 0–100 or a detail of more than MAX_RESULT_BYTES, InvalidTransition where
        nothing runs; in a body TaskCancelled, AttemptLost.
        """
        if not 0 <= progress <= 100:  # noqa: PLR2004 (percent)
            raise ValueError(f"progress must be between 0 and 100, not {progress}")
        check_size(detail, "progress detail")
        task_id = _id(task_id)
        with transaction(db, commit=commit):
            cancelled = task_reports.report_progress(db, task_id, progress, detail)
        if cancelled:
            raise TaskCancelled
        return self.get_task(db, task_id)

    def update_task_status(
        self,
        db: Session,
        task_id: UUID,
        status: TaskStatus | str,
        progress: int | None = None,
        result: Any | None = None,
        *,
        error: str | None = None,
        commit: bool = True,
    ) -> Task:
        """Move the task: in a running body, end its attempt; from outside, revoke a pending task or end a running one.

        From outside, the attempt that runs is fenced off: nothing it writes afterwards counts. Raises
        InvalidTransition for any other move (`running` comes from a worker's claim alone), TypeError or ValueError for
        a result that is not JSON, ResultTooLarge.
        """
        task_id, to = _id(task_id), TaskStatus(status)
        error = None if error is None else redact_text(error)
        check_size(result)
        with transaction(db, commit=commit):
            return task_reports.report_status(db, task_id, to, progress, result, error)

    # Change

    def update_task(
        self,
        db: Session,
        task_id: UUID,
        changes: dict[str, Any],
        *,
        owner: UUID | None = None,
        check_admin: Callable[[str], None] | None = None,
        check_version: Callable[[int], None] | None = None,
        commit: bool = True,
    ) -> Task:
        """Change what PATCH may change (TaskPatch); `check_version` is called with the version that is changed.

        `check_admin` is called, with words for it, when the task's state is to be set. Raises TaskNotFound,
        InvalidTransition, and what the two checks raise.
        """
        fields, state = task_editing.split(changes, check_admin)
        with transaction(db, commit=commit):
            for _ in range(task_changes.TRIES):
                task = self.get_task(db, task_id, owner=owner)
                if check_version is not None:
                    check_version(task.version)
                if not fields or task_editing.edit(db, task, fields):
                    break
            else:
                raise PreconditionFailed
            if state:
                task_reports.set_state(db, task.id, state)
            task = self.get_task(db, task.id)
            if state:
                audit.record_task(db, AuditEvent.TASK_STATE_SET, task, fields=sorted(state), status=task.status.value)
            self._dispatch(db, task_editing.due_now(task, fields))
        return task

    def cancel(self, db: Session, task_id: UUID, *, owner: UUID | None = None, commit: bool = True) -> Task:
        """Revoke a pending task, ask a running one to stop. Raises InvalidTransition if it has succeeded or failed."""
        with transaction(db, commit=commit):
            for _ in range(task_changes.TRIES):
                task = self.get_task(db, task_id, owner=owner)
                revoked = task_changes.revoke_pending(db, task.id)
                if revoked or task_changes.request_cancel(db, task.id):
                    was = TaskStatus.PENDING if revoked else TaskStatus.RUNNING
                    audit.record_task(db, AuditEvent.TASK_CANCELLED, task, was=was.value)
                    # Within the transaction: what the attempt makes of it afterwards is not this call's answer.
                    return self.get_task(db, task_id, owner=owner)
                task = self.get_task(db, task_id, owner=owner)
                asked = task.status is TaskStatus.RUNNING and task.cancel_requested_at is not None
                if asked or task.status is TaskStatus.REVOKED:
                    return task
                if task.status in TERMINAL:
                    raise InvalidTransition(f"The task has already {task.status}")
            raise InvalidTransition("The task changes too fast to be cancelled: try again")

    def cancel_task(self, db: Session, task_id: UUID, *, commit: bool = True) -> bool:
        """True: revoked, or asked to stop. False: it had succeeded or failed. Raises TaskNotFound."""
        try:
            self.cancel(db, task_id, commit=commit)
        except InvalidTransition:
            return False
        return True

    def retry_task(
        self, db: Session, task_id: UUID, *, owner: UUID | None = None, commit: bool = True,
        within_quota: bool = False,
    ) -> Task:  # fmt: skip
        """Run a failed or revoked task again under the same id; it counts as one more of its owner's queue.

        Raises TaskNotFound, InvalidTransition, QuotaExceeded as `create_tasks` does.
        """
        task = self.get_task(db, task_id, owner=owner)
        queues_again = within_quota and task.status in {TaskStatus.FAILED, TaskStatus.REVOKED}
        room = quotas.room(db, task.user_id, load_of([task])) if queues_again else nullcontext()
        with room, transaction(db, commit=commit):
            if not task_changes.restart(db, task.id):
                raise task_changes.refused(db, task.id, "retry")
            task = self.get_task(db, task.id)
            audit.record_task(db, AuditEvent.TASK_RETRIED, task, generation=task.generation)
            self._dispatch(db, [Dispatch.of(task)])
        return task

    def delete(
        self, db: Session, task_id: UUID, *, owner: UUID | None = None, force: bool = False, commit: bool = True
    ) -> bool:
        """Delete an ended task; with `force` a pending one too, and a running one once it has been stopped.

        True: gone. False: it will be. Raises TaskNotFound, TaskActive.
        """
        with transaction(db, commit=commit):
            for _ in range(task_changes.TRIES):
                task = self.get_task(db, task_id, owner=owner)
                if task_changes.delete_ended(db, task.id, pending_too=force):
                    audit.record_task(db, AuditEvent.TASK_DELETED, task, was=task.status.value)
                    db.expunge(task)
                    return True
                if force and task_changes.request_delete(db, task.id):
                    # Asked again, it is the same deed; that it is gone in the end is the first one's consequence.
                    if task.delete_requested_at is None:
                        audit.record_task(db, AuditEvent.TASK_DELETED, task, was=TaskStatus.RUNNING.value)
                    return False
                # Not ended, or gone: get_task says which.
                if not force and self.get_task(db, task_id, owner=owner).status not in TERMINAL:
                    break
            raise TaskActive

    def delete_task(self, db: Session, task_id: UUID, *, commit: bool = True) -> bool:
        """True: gone. False: it is still pending or running. Raises TaskNotFound."""
        try:
            return self.delete(db, task_id, commit=commit)
        except TaskActive:
            return False

    def purge_finished(self, db: Session, days: float) -> int:
        """Delete the tasks that ended longer ago than this, in batches of a transaction each. Returns how many."""
        total = 0
        while True:
            with transaction(db):
                deleted = task_changes.delete_finished_before(db, timedelta(days=days))
            total += deleted
            if deleted < task_changes.PURGE_BATCH:
                return total

    def send_committed(self, dispatches: Sequence[Dispatch]) -> None:
        """For who has committed rows of `task_creation` by itself: hand their messages to the publisher."""
        publish(dispatches)

    # Inside

    def _dispatch(self, db: Session, dispatches: list[Dispatch]) -> None:
        if dispatches:
            after_commit(db, lambda: publish(dispatches))


def _id(task_id: UUID | str) -> UUID:
    """An id as a UUID; what is none names no task."""
    if isinstance(task_id, UUID):
        return task_id
    try:
        return UUID(task_id)
    except ValueError:
        raise TaskNotFound from None


def _filter(user_id: UUID | None, status: Any, task_type: str | None, filters: dict[str, Any]) -> TaskFilter:
    statuses = () if status is None else (TaskStatus(status),) if isinstance(status, str) else tuple(status)
    return TaskFilter(user_id=user_id, status=statuses, task_type=task_type, **filters)


task_service = TaskService()
