"""Tasks: create, read, change, cancel, retry, delete.

Each method is one transaction; with `commit=False` the caller commits. Messages are then published after the caller's
outermost commit, and discarded by a rollback. `owner` limits a call to one user's tasks: another user's task raises
TaskNotFound, like a task that does not exist.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from app.core.config import get_settings
from app.core.redacted_text import redact_text
from app.db.listing import Page
from app.db.session import transaction
from app.db.statements import reads, schedules
from app.db.transactions import retries_deadlocks
from app.errors import (
    InvalidInput,
    InvalidTask,
    InvalidTransition,
    PreconditionFailed,
    TaskActive,
    TaskCancelled,
    TaskNotFound,
    Text,
)
from app.models.audit import AuditEvent
from app.models.auth import Scope
from app.models.bulk import BulkDeed, Deed
from app.models.outbox import ConsumerNumber
from app.models.task import (
    TERMINAL,
    UNSUCCESSFUL,
    LogLevel,
    Task,
    TaskAttempt,
    TaskLog,
    TaskOutput,
    TaskStatus,
    TaskStep,
)
from app.models.task_filter import TaskFilter
from app.schemas.task import TaskCreate
from app.schemas.task_filter import filter_from
from app.services import audit
from app.services.accounts.users import Rights
from app.services.bulk import deeds
from app.services.bulk.deeds import Caller, Preview, SelectedTask, Selection
from app.services.execution.attempts import check_percent, check_size
from app.services.operations import error_group_service, limit_service, queue_service, stats_service, worker_service
from app.services.tasks import (
    due_tasks,
    limited_tasks,
    new_rows,
    task_changes,
    task_counts,
    task_creation,
    task_edits,
    task_history,
    task_queries,
    unique_keys,
)
from app.services.tasks.permissions import check_may_create, check_priority
from app.services.tasks.quotas import load_of, quotas
from app.services.workflow_service import workflow_service
from app.services.workflows import dependents, lifecycle
from app.services.workflows.lifecycle import Restart


class TaskService:
    """The task operations. Stateless: `task_service` is the shared instance."""

    # Create

    @retries_deadlocks
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
        """Create a task and have it run; `options` as in TaskCreate. Returns the task and its Celery id.

        With a `unique_key` and `on_conflict`, it may be a task that was there before. Raises InvalidTask, UnknownTask,
        InvalidArguments, PriorityNotAllowed, UniqueKeyTaken, UnknownLimit, LimitReached.
        """
        fields = {
            "name": name,
            "task_type": task_type,
            "celery_task_name": celery_task_name,
            "args": args or [],
            "kwargs": kwargs or {},
            "priority": priority,
            **options,
        }
        rows = new_rows.rows_of([new_rows.parse(fields)], _user_id(user_id))
        ((task, _),) = task_creation.create_from_rows(db, rows, commit=commit, within_quota=False)
        return task, str(task.celery_id)

    @retries_deadlocks
    def create_tasks(
        self, db: Session, wanted: Sequence[TaskCreate | dict[str, Any]], user_id: UUID, *, commit: bool = True,
        within_quota: bool = False,
    ) -> list[Task]:  # fmt: skip
        """Create all tasks or none, in one statement. Returns them in the given order.

        Raises UnknownTask, InvalidArguments, PriorityNotAllowed, UniqueKeyTaken, UnknownLimit, LimitReached,
        InvalidTask for an unknown user; with `within_quota`, which the API sets, also QuotaExceeded.
        """
        tasks = [task if isinstance(task, TaskCreate) else new_rows.parse(task) for task in wanted]
        rows = new_rows.rows_of(tasks, _user_id(user_id))
        created = task_creation.create_from_rows(db, rows, commit=commit, within_quota=within_quota)
        return [task for task, _ in created]

    @retries_deadlocks
    def create_or_find(self, db: Session, wanted: TaskCreate, rights: Rights) -> tuple[Task, bool]:
        """As `create_tasks` for one task of a caller with these rights, within the quotas.

        Raises TaskNotAllowed, InsufficientScope besides. Returns it, and whether it is new: not if another task has the
        `unique_key`, and `on_conflict` allows it.
        """
        check_may_create([wanted], rights)
        rows = new_rows.rows_of([wanted], rights.user_id)
        (created,) = task_creation.create_from_rows(db, rows, commit=True, within_quota=True)
        return created

    # Read

    def get_task(self, db: Session, task_id: UUID, *, owner: UUID | None = None) -> Task:
        """Return the committed task. Raises TaskNotFound."""
        return task_queries.read(db, _id(task_id), owner)

    def get_tasks(
        self, db: Session, user_id: UUID | None = None, status: TaskStatus | str | None = None,
        task_type: str | None = None, skip: int = 0, limit: int = 50, **filters: Any,
    ) -> list[Task]:  # fmt: skip
        """Return tasks, newest first; `filters` as in TaskFilter. `user_id=None` means the tasks of all users.

        Raises InvalidInput for a filter that is none.
        """
        return task_queries.first_tasks(
            db, filter_from({"user_id": user_id, "status": status, "task_type": task_type, **filters}), limit, skip=skip
        )

    def get_task_count(
        self, db: Session, user_id: UUID | None = None, status: TaskStatus | str | None = None,
        task_type: str | None = None, **filters: Any,
    ) -> int:  # fmt: skip
        """Return the exact number of tasks; filters as in `get_tasks`."""
        return task_counts.count(
            db, filter_from({"user_id": user_id, "status": status, "task_type": task_type, **filters})
        )["total"]

    def list_page(
        self, db: Session, wanted: TaskFilter, limit: int, *, cursor: str | None = None, skip: int = 0
    ) -> Page[Task]:
        """Return a page of tasks, newest first. Raises InvalidCursor.

        A page reads a limited number of rows. With a filter that few tasks match it may be short, and still have a next
        page.
        """
        return task_queries.read_page(db, wanted, limit, cursor=cursor, skip=skip)

    def show_page(
        self, db: Session, wanted: TaskFilter, limit: int, *, cursor: str | None = None, skip: int = 0
    ) -> Page[dict[str, Any]]:
        """As `list_page`, each task as `TaskRead` takes it. The page ends at MAX_PAGE_BYTES, with one task at least.

        A page that reads many rows has DATABASE_COSTLY_READ_SECONDS.
        """
        if task_queries.page_reads_many(wanted, skip):
            reads.limit_read(db, get_settings().costly_read_seconds)
        return task_queries.shown_page(db, wanted, limit, cursor=cursor, skip=skip)

    def longest_running(self, db: Session, limit: int, *, owner: UUID | None = None) -> list[Task]:
        """Return the running tasks whose attempt began first; `owner` limits them to that user's."""
        return task_queries.longest_running(db, limit, owner)

    def show_counts(self, db: Session, wanted: TaskFilter, *, by_reason: bool = False) -> dict[str, Any]:
        """As `count`; with `by_reason` also for what the pending ones wait.

        A count that reads many rows has DATABASE_COSTLY_READ_SECONDS.
        """
        if by_reason or task_counts.reads_many(wanted):
            reads.limit_read(db, get_settings().costly_read_seconds)
        counts = task_counts.count(db, wanted)
        return {**counts, "waiting_for": task_counts.by_reason(db, wanted)} if by_reason else counts

    def count(self, db: Session, wanted: TaskFilter) -> dict[str, int]:
        """Return the exact number of tasks, in total and by status."""
        return task_counts.count(db, wanted)

    def get_attempts(
        self, db: Session, task_id: UUID, *, owner: UUID | None = None
    ) -> list[TaskAttempt | dict[str, Any]]:
        """Return all attempts, oldest first, the current one included. Raises TaskNotFound."""
        return task_history.read_attempts(db, self.get_task(db, task_id, owner=owner))

    def list_attempts(
        self, db: Session, task_id: UUID, limit: int, *, owner: UUID | None = None, cursor: str | None = None
    ) -> Page[TaskAttempt | dict[str, Any]]:
        """Return a page of the attempts, oldest first. It ends at MAX_PAGE_BYTES.

        Raises TaskNotFound, InvalidCursor.
        """
        return task_history.page_of_attempts(db, self.get_task(db, task_id, owner=owner), limit, cursor)

    def list_logs(
        self, db: Session, task_id: UUID, limit: int = 200, *, owner: UUID | None = None, after: int | str = 0,
        attempt: int | None = None, level: LogLevel | str | None = None,
    ) -> Page[TaskLog]:  # fmt: skip
        """Return a page of what the task's bodies logged after number `after`, oldest first. It ends at MAX_PAGE_BYTES.

        `level` is the lowest one. Raises TaskNotFound.
        """
        task_id = _id(task_id)
        task_history.check_task(db, task_id, owner)
        wanted = task_history.LogFilter(attempt, None if level is None else LogLevel(level))
        return task_history.page_of_logs(db, task_id, wanted, limit, after)

    def list_output(
        self, db: Session, task_id: UUID, limit: int = 200, *, owner: UUID | None = None, after: int | str = 0,
        stream: str | None = None,
    ) -> Page[TaskOutput]:  # fmt: skip
        """Return a page of what the task's bodies emitted after number `after`, oldest first.

        It ends at MAX_PAGE_BYTES. `stream` names one of the task's streams. Raises TaskNotFound.
        """
        task_id = _id(task_id)
        task_history.check_task(db, task_id, owner)
        return task_history.page_of_output(db, task_id, stream, limit, after)

    def list_steps(
        self, db: Session, task_id: UUID, limit: int = 200, *, owner: UUID | None = None, cursor: str | None = None
    ) -> Page[TaskStep]:  # fmt: skip
        """Return a page of the steps that the task has done, in their order. It ends at MAX_PAGE_BYTES.

        Raises TaskNotFound, InvalidCursor.
        """
        task_id = _id(task_id)
        task_history.check_task(db, task_id, owner)
        return task_history.page_of_steps(db, task_id, limit, cursor)

    # Report: from a running body, or from outside

    def update_task_progress(
        self, db: Session, task_id: UUID, progress: int, detail: Any | None = None, *, commit: bool = True
    ) -> Task:
        """Set progress in percent and any JSON as its detail. In a running body it applies to that body's attempt only.

        Raises ValueError for a number outside 0–100 or a detail of more than MAX_RESULT_BYTES, InvalidTransition if the
        task does not run; in a body also TaskCancelled, AttemptLost.
        """
        check_percent(progress)
        check_size(detail, "progress detail")
        task_id = _id(task_id)
        with transaction(db, commit=commit):
            cancelled = task_changes.report_progress(db, task_id, progress, detail)
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
        """Set the status: in a running body, end its attempt; from outside, revoke a pending task or end a running one.

        From outside, the running attempt is fenced off: its later writes do not count. Raises InvalidTransition for any
        other move (only a worker's claim sets `running`), TypeError or ValueError for a result that is not JSON,
        ResultTooLarge, ValueError for a progress outside 0–100.
        """
        if progress is not None:
            check_percent(progress)
        task_id, to = _id(task_id), _status(status)
        if error is not None and not isinstance(error, str):
            raise TypeError(f"error is a text, such as error='no such picture', not {type(error).__name__}")
        error = None if error is None else redact_text(error)
        check_size(result)
        with transaction(db, commit=commit):
            task = task_changes.report_status(db, task_id, to, progress, result, error)
            dependents.release_after_commit(db, task)
        return task

    # Change

    @retries_deadlocks
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
        within_quota: bool = False,
        rights: Rights | None = None,
        owns: Callable[[UUID], bool] | None = None,
    ) -> Task:
        """Change the fields that PATCH may change (TaskPatch).

        `owns` is called with the id of the task's user. Where it returns False, a `***` keeps its secret only beside
        arguments that are otherwise unchanged.

        Raises TaskNotFound, InvalidTransition, InvalidTask, InvalidArguments, UnknownTask; with `within_quota`
        QuotaExceeded for larger arguments; with `rights`, those of the caller, PriorityNotAllowed, and for changed
        arguments TaskNotAllowed, InsufficientScope. `check_version` is called with the version that is changed.
        `check_admin` is called with a description if the change sets the task's state. Their exceptions are passed on.
        """
        fields, state = task_edits.split_changes(changes, check_admin)
        if rights is not None:
            check_priority(fields.get("priority"), rights.max_priority)
        with ExitStack() as until_commit, transaction(db, commit=commit):
            for _ in range(task_changes.TRIES):
                task = self.get_task(db, task_id, owner=owner)
                if check_version is not None:
                    check_version(task.version)
                by_owner = owns is None or owns(task.user_id)
                if not fields or task_edits.edit_task(
                    db, task, fields, until_commit if within_quota else None, rights=rights, by_owner=by_owner
                ):
                    break
            else:
                raise PreconditionFailed
            if state:
                task_changes.set_state(db, task.id, state)
            task = self.get_task(db, task.id)
            if fields:
                audit.record_task(db, AuditEvent.TASK_CHANGED, task, fields=sorted(fields))
            if state:
                audit.record_task(db, AuditEvent.TASK_STATE_SET, task, fields=sorted(state), status=task.status.value)
                dependents.release_after_commit(db, task)
            if task_edits.MOVES_TURN & fields.keys():
                due_tasks.wake_if_due(db, task.id, task.queue)
        return task

    @retries_deadlocks
    def cancel(self, db: Session, task_id: UUID, *, owner: UUID | None = None, commit: bool = True) -> Task:
        """Revoke a pending task, or ask a running one to stop.

        Raises TaskNotFound, InvalidTransition if it succeeded or failed.
        """
        with transaction(db, commit=commit):
            for _ in range(task_changes.TRIES):
                task = self.get_task(db, task_id, owner=owner)
                revoked = task_changes.revoke_pending(db, task.id)
                if revoked or task_changes.request_cancel(db, task.id):
                    was = TaskStatus.PENDING if revoked else TaskStatus.RUNNING
                    audit.record_task(db, AuditEvent.TASK_CANCELLED, task, was=was.value)
                    # Read in the transaction: later writes of the attempt do not belong to this call's result.
                    task = self.get_task(db, task_id, owner=owner)
                    dependents.release_after_commit(db, task)
                    return task
                task = self.get_task(db, task_id, owner=owner)
                asked = task.status is TaskStatus.RUNNING and task.cancel_requested_at is not None
                if asked or task.status is TaskStatus.REVOKED:
                    return task
                if task.status in TERMINAL:
                    raise InvalidTransition(Text("The task has already {}", task.status))
            raise InvalidTransition("The task is changing: try again")

    def cancel_task(self, db: Session, task_id: UUID, *, commit: bool = True) -> bool:
        """Cancel a task. Returns True if it was revoked or asked to stop, False if it had ended otherwise.

        Raises TaskNotFound.
        """
        try:
            self.cancel(db, task_id, commit=commit)
        except InvalidTransition:
            return False
        return True

    @retries_deadlocks
    def retry_task(
        self, db: Session, task_id: UUID, *, owner: UUID | None = None, from_start: bool = False,
        commit: bool = True, within_quota: bool = False, rights: Rights | None = None,
    ) -> Task:  # fmt: skip
        """Run a failed or revoked task again under the same id. It counts again in its owner's quotas.

        It keeps the results of its steps, and forgets them with `from_start`. Raises TaskNotFound, InvalidTransition,
        UniqueKeyTaken, UnknownLimit, ParentFailed, ParentDeleted; with `rights`, those of the caller, TaskNotAllowed,
        PriorityNotAllowed, InsufficientScope; with `within_quota` QuotaExceeded.
        """
        task = self.get_task(db, task_id, owner=owner)
        task_id = task.id
        if rights is not None:
            check_may_create([task], rights)
        queues_again = within_quota and task.status in UNSUCCESSFUL
        reservation = quotas.reserve(db, task.user_id, load_of(task)) if queues_again else nullcontext()
        with reservation, transaction(db, commit=commit):
            if task.limit is not None:
                limited_tasks.keep_limit(db, task.limit)
            restart = Restart(db, [task])
            restart.check(task_id)
            if task.workflow_id is not None:
                lifecycle.check_parents_kept(db, task.workflow_id, [task_id])
            if not unique_keys.take_again(db, task, lambda: task_changes.restart(db, task_id)):
                raise task_changes.refused(db, task.id, "Cannot retry a task that is {}")
            if from_start:
                task_history.clear_steps(db, task_id)
            restart.apply(db, [task_id])
            task = self.get_task(db, task.id)
            if task.schedule_id is not None:
                schedules.reopen(db, [task.id])
            audit.record_task(db, AuditEvent.TASK_RETRIED, task, generation=task.generation)
            due_tasks.wake_if_due(db, task.id, task.queue)
        return task

    @retries_deadlocks
    def retry_with_changes(
        self, db: Session, task_id: UUID, changes: dict[str, Any], *, owner: UUID | None = None, commit: bool = True,
        within_quota: bool = False, rights: Rights | None = None,
        owns: Callable[[UUID], bool] | None = None,
    ) -> tuple[Task, bool]:  # fmt: skip
        """Create a new task of the same user that repeats an ended one, with some fields replaced (TaskRetry).

        Returns it, and whether it is new: not if another task has the `unique_key`, and `on_conflict` allows it.
        `owns` as in `update_task`. Raises TaskNotFound, InvalidTransition, and as `create_tasks` does; with `rights`,
        those of the caller, TaskNotAllowed, InsufficientScope; with `within_quota` QuotaExceeded.
        """
        old = self.get_task(db, _id(task_id), owner=owner)
        wanted = task_edits.repeated_request(old, changes, by_owner=owns is None or owns(old.user_id))
        if rights is not None:
            check_may_create([wanted], rights)
        rows = new_rows.rows_of([wanted], old.user_id, retry_of=old.id)
        with task_creation.creating(db, rows, commit=commit, within_quota=within_quota) as created:
            (task,) = task_creation.as_tasks(db, created)
            audit.record_task(db, AuditEvent.TASK_RETRIED, old, new_task=str(task.id), fields=sorted(changes))
        return task, created[0].is_new

    @retries_deadlocks
    def run_now(self, db: Session, task_id: UUID, *, owner: UUID | None = None, commit: bool = True) -> Task:
        """Make a pending task due that waits for its time or its back-off. Pauses, limits and quotas hold as before.

        Raises TaskNotFound, InvalidTransition for any other task.
        """
        with transaction(db, commit=commit):
            task = self.get_task(db, task_id, owner=owner)
            if not task_changes.run_now(db, task.id):
                raise task_changes.not_waiting(db, task.id)
            task = self.get_task(db, task.id)
            audit.record_task(db, AuditEvent.TASK_RUN_NOW, task)
            due_tasks.wake_if_due(db, task.id, task.queue)
        return task

    @retries_deadlocks
    def delete(
        self, db: Session, task_id: UUID, *, owner: UUID | None = None, force: bool = False, commit: bool = True
    ) -> bool:
        """Delete an ended task; with `force` also a pending one, and a running one after it has stopped.

        Returns True if the task is deleted, False if it will be. Raises TaskNotFound, TaskActive, and TaskHasChildren
        for one that a pending task depends on.
        """
        with transaction(db, commit=commit):
            for _ in range(task_changes.TRIES):
                task = self.get_task(db, task_id, owner=owner)
                has_children = ConsumerNumber.CHILDREN.is_in(task.followers)
                if task_changes.delete_ended(db, task.id, pending_too=force, has_children=has_children):
                    audit.record_task(db, AuditEvent.TASK_DELETED, task, was=task.status.value)
                    db.expunge(task)
                    return True
                if force and task_changes.request_delete(db, task.id):
                    # A repeated request is not recorded again. The deletion at the attempt's end follows from the first
                    # request.
                    if task.delete_requested_at is None:
                        audit.record_task(db, AuditEvent.TASK_DELETED, task, was=TaskStatus.RUNNING.value)
                    return False
                # The task has not ended, or is deleted: get_task tells which.
                if not force and self.get_task(db, task_id, owner=owner).status not in TERMINAL:
                    break
            raise TaskActive

    def delete_task(self, db: Session, task_id: UUID, *, commit: bool = True) -> bool:
        """Delete an ended task. Returns False if it is pending or running. Raises TaskNotFound."""
        try:
            return self.delete(db, task_id, commit=commit)
        except TaskActive:
            return False

    # Change many

    def preview_bulk(
        self, db: Session, deed: Deed | str, *, user_id: UUID, ids: Sequence[UUID] | None = None,
        wanted: TaskFilter | None = None, as_admin: bool = False, with_sample: bool = True,
    ) -> Preview:  # fmt: skip
        """Return how many tasks `start_bulk` would change, ten of them at most (`with_sample`), and a token for it.

        `deed` is `cancel`, `retry` or `delete`. `wanted` counts within DATABASE_COSTLY_READ_SECONDS. Raises AdminOnly
        for the tasks of others without `as_admin`.
        """
        selection = Selection.of(wanted, _ids(ids))
        if selection is None:
            raise InvalidInput("Name tasks by their ids, or by a filter")
        return deeds.preview(db, Deed(deed), Caller(_user_id(user_id), as_admin), selection, with_sample=with_sample)

    def start_bulk(
        self, db: Session, deed: Deed | str, *, user_id: UUID, ids: Sequence[UUID] | None = None,
        wanted: TaskFilter | None = None, token: str | None = None, as_admin: bool = False,
        within_quota: bool = False, rights: Rights | None = None, commit: bool = True,
    ) -> BulkDeed:  # fmt: skip
        """Cancel, retry or delete the tasks with these ids, or all that match the filter or token now.

        Returns at once; maintenance does it, and `get_bulk` tells how far it is. It ends even if processes are killed.
        With a `token`, tasks that were created after its preview stay as they are, and the same token again returns the
        same deed. `within_quota` is set by the API, and `rights`, those of the caller: an API key without the scope
        `tasks:read` retries no tasks of a type that reads tasks or takes files. Raises TokenExpired, TokenMismatch,
        AdminOnly, TooManyBulkDeeds.
        """
        may_read = rights is None or Scope.TASKS_READ in rights.scopes
        caller = Caller(_user_id(user_id), as_admin, within_quota, may_read)
        with transaction(db, commit=commit):
            return deeds.start(db, Deed(deed), caller, Selection.of(wanted, _ids(ids)), token)

    def get_bulk(self, db: Session, deed_id: UUID, *, owner: UUID | None = None) -> BulkDeed:
        """Return the deed with its counts, for a week after its end. Raises BulkDeedNotFound."""
        return deeds.read(db, deed_id, owner)

    def list_selected(
        self, db: Session, deed: BulkDeed, *, owner: UUID | None = None, limit: int = 50, skip: int = 0
    ) -> Page[SelectedTask]:
        """Return a page of the tasks that were named by their ids, in that order; of a deed with a filter none.

        `owner` limits what is told of them to that user's tasks.
        """
        return deeds.selected_tasks(db, deed, owner, limit, skip)

    def list_bulk(
        self, db: Session, *, owner: UUID | None = None, limit: int = 50, cursor: str | None = None
    ) -> Page[BulkDeed]:
        """Return a page of deeds, the newest first; they are kept for a week after their end.

        `owner` limits them to that user's. Raises InvalidCursor.
        """
        with transaction(db):
            return deeds.DEEDS.page(db, limit, cursor, *reads.of_owner(BulkDeed, owner))

    def abort_bulk(
        self, db: Session, deed_id: UUID, *, owner: UUID | None = None, commit: bool = True
    ) -> BulkDeed:  # fmt: skip
        """Stop a deed: what is done stays done. Raises BulkDeedNotFound, BulkDeedOver if it has finished."""
        with transaction(db, commit=commit):
            return deeds.abort(db, deed_id, owner)

    # Of other services, whose names these are

    list_queues = staticmethod(queue_service.list_queues)
    pause_queue = staticmethod(queue_service.pause_queue)
    resume_queue = staticmethod(queue_service.resume_queue)
    create_workflow = staticmethod(workflow_service.create_workflow)
    create_from_canvas = staticmethod(workflow_service.create_from_canvas)
    list_limits = staticmethod(limit_service.list_limits)
    get_limit = staticmethod(limit_service.get_limit)
    put_limit = staticmethod(limit_service.put_limit)
    delete_limit = staticmethod(limit_service.delete_limit)
    get_stats = staticmethod(stats_service.get_stats)
    list_error_groups = staticmethod(error_group_service.list_error_groups)
    get_error_group = staticmethod(error_group_service.get_error_group)
    resolve_error_group = staticmethod(error_group_service.resolve_error_group)
    ignore_error_group = staticmethod(error_group_service.ignore_error_group)
    reopen_error_group = staticmethod(error_group_service.reopen_error_group)
    list_workers = staticmethod(worker_service.list_workers)
    get_worker = staticmethod(worker_service.get_worker)
    drain_worker = staticmethod(worker_service.drain_worker)


def _status(status: TaskStatus | str) -> TaskStatus:
    try:
        return TaskStatus(status)
    except ValueError:
        raise ValueError(f"status is one of {', '.join(TaskStatus)}, not {str(status)[:50]!r}") from None


def _told(value: Any) -> str:
    return repr(value[:50]) if isinstance(value, str) else type(value).__name__


def _id(task_id: UUID | str) -> UUID:
    """Return the id as a UUID. Raises TaskNotFound for what is none."""
    if isinstance(task_id, UUID):
        return task_id
    if task_id is None:  # what a `task_id=None` parameter holds after `.delay()`
        raise TaskNotFound(
            "task_id is None: the body runs without a record, as after .delay(); self.update_progress works"
        )
    try:
        return UUID(task_id)
    except (ValueError, TypeError, AttributeError):
        raise TaskNotFound(Text("A task_id is a UUID or its text, not {}", _told(task_id))) from None


def _ids(ids: Sequence[UUID | str] | None) -> list[UUID] | None:
    return None if ids is None else [_id(each) for each in ids]


def _user_id(user_id: UUID | str) -> UUID:
    """Return the id as a UUID. Raises InvalidTask for what is none."""
    try:
        return user_id if isinstance(user_id, UUID) else UUID(user_id)
    except (ValueError, TypeError, AttributeError):
        raise InvalidTask(Text("user_id is the UUID of a user or its text, not {}", _told(user_id))) from None


task_service = TaskService()
