"""Does accepted deeds, one batch of tasks at a time.

A step is one transaction: it does a batch and counts it. So whatever is killed, each task is done and counted once. Any
number of processes may take steps; a deed is locked by the one that does.

To each task of a batch is done what the call for one task does, with its statements and its errors.
"""

import logging
from collections import Counter
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import accumulate, groupby, islice
from operator import attrgetter
from uuid import UUID

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from app.core.origin import Actor
from app.db.outage import is_passing
from app.db.session import transaction
from app.db.sql import limits
from app.db.statements import bulk, dependencies, schedules, workflows
from app.db.together import together
from app.db.transactions import retry_deadlocks
from app.errors import (
    InvalidTransition,
    QuotaExceeded,
    ServiceError,
    TaskActive,
    TaskHasChildren,
    TaskNotFound,
    UnknownLimit,
)
from app.models.bulk import BulkBatch, BulkDeed, BulkEvent, Deed, DeedState, pack_ids, unpack_ids
from app.models.task import TERMINAL, UNSUCCESSFUL, Task, TaskStatus
from app.models.user import Role, User
from app.services import audit
from app.services.accounts.users import Rights
from app.services.audit import Subject
from app.services.bulk.deeds import counts, end
from app.services.tasks import due_tasks, task_changes, unique_keys
from app.services.tasks.permissions import check_may_run
from app.services.tasks.quotas import Reservation, load_of_row, quotas, sum_of_loads
from app.services.workflows import lifecycle
from app.services.workflows.lifecycle import Restart

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Doer:
    """For whom a deed is done, with the rights of this moment."""

    user_id: UUID
    role: str
    max_priority: str
    as_admin: bool
    within_quota: bool

    @property
    def owner(self) -> UUID | None:
        return None if self.as_admin and self.role == Role.ADMIN else self.user_id


@dataclass
class Outcome:
    """What became of the tasks. `left` are those that another transaction had locked, and what was too much at once."""

    done: int = 0
    failed: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    left: list[UUID] = field(default_factory=list)

    def skip(self, error: ServiceError | type[ServiceError]) -> None:
        self.skipped[error.code] += 1

    def add(self, other: "Outcome") -> None:
        self.done += other.done
        self.failed += other.failed
        self.skipped += other.skipped
        self.left += other.left


def perform(db: Session, deed: Deed, doer: Doer, ids: Sequence[UUID]) -> Outcome:
    """Do the deed to these tasks: one that fails costs no other. Returns what became of them.

    Raises DBAPIError after an outage, and after a deadlock: InnoDB has undone the step's whole transaction, and
    released its lock on the deed.
    """

    def do(part: Sequence[UUID]) -> Outcome:
        with db.begin_nested():
            return _perform(db, deed, doer, part)

    def alone(task_id: UUID, error: Exception) -> Outcome:
        if is_passing(error):
            return Outcome(left=[task_id])
        logger.error("bulk %s: task %s failed", deed, task_id, exc_info=error)
        return Outcome(failed=1)

    outcome = Outcome()
    for each in together(f"tasks of a bulk {deed}", ids, do, alone):
        outcome.add(each)
    return outcome


def _perform(db: Session, deed: Deed, doer: Doer, ids: Sequence[UUID]) -> Outcome:
    if deed is Deed.RETRY:
        # Before the tasks, as whoever settles an end has them: the workflow, and then the children of the task.
        if of_tasks := workflows.of_tasks(db, ids):
            workflows.lock(db, of_tasks)
        dependencies.lock_waiting(db, ids)
    tasks = bulk.lock_tasks(db, ids, doer.owner)
    outcome = Outcome()
    missing = set(ids) - {task.id for task in tasks}
    if missing:
        own = [] if doer.owner is None else [Task.user_id == doer.owner]
        outcome.left = list(db.scalars(select(Task.id).where(Task.id.in_(missing), *own)))
        outcome.skipped.update({TaskNotFound.code: len(missing) - len(outcome.left)})
    if deed is Deed.CANCEL:
        _cancel(db, tasks, outcome)
    elif deed is Deed.DELETE:
        _delete(db, tasks, outcome)
    else:
        _retry(db, doer, tasks, outcome)
    outcome.skipped += Counter()  # drops zeros
    return outcome


def _cancel(db: Session, tasks: Sequence[bulk.LockedTask], outcome: Outcome) -> None:
    task_changes.revoke_all_pending(db, [task.id for task in tasks if task.status is TaskStatus.PENDING])
    running = [task for task in tasks if task.status is TaskStatus.RUNNING]
    task_changes.request_all_cancels(db, [task.id for task in running if task.cancel_requested_at is None])
    for task in tasks:
        if task.status in {TaskStatus.SUCCEEDED, TaskStatus.FAILED}:
            outcome.skip(InvalidTransition)
        else:
            outcome.done += 1


def _delete(db: Session, tasks: Sequence[bulk.LockedTask], outcome: Outcome) -> None:
    """What is kept with a task is deleted with it: of many bytes, a part is left to a later step."""
    ended = [task for task in tasks if task.status in TERMINAL]
    bytes_before = accumulate((task.stored_bytes for task in ended), initial=0)
    number = sum(size < task_changes.PURGE_BYTES for size in islice(bytes_before, len(ended)))
    deleted = task_changes.delete_all_ended(db, [task.id for task in ended[:number]])
    outcome.done += deleted
    outcome.skipped[TaskHasChildren.code] += number - deleted
    outcome.left += [task.id for task in ended[number:]]
    outcome.skipped[TaskActive.code] += len(tasks) - len(ended)


def _retry(db: Session, doer: Doer, tasks: Sequence[bulk.LockedTask], outcome: Outcome) -> None:
    """Quotas first: their count of the database must not hold what this transaction changes."""
    known = limits.keep_limits(db, {task.limit for task in tasks if task.limit is not None})
    restart = Restart(db, [task for task in tasks if task.status in UNSUCCESSFUL])

    def skip(task: bulk.LockedTask, error: ServiceError) -> None:
        restart.leave_out(task)
        outcome.skip(error)

    allowed: list[bulk.LockedTask] = []
    for task in tasks:
        try:
            _check_retry(doer, task, known)
            restart.check(task.id)
            if task.workflow_id is not None:
                lifecycle.check_parents_kept(db, task.workflow_id, [task.id])
        except ServiceError as error:
            skip(task, error)
        else:
            allowed.append(task)
    restarted: list[bulk.LockedTask] = []
    with _reserved(db, allowed, restarted, skip) if doer.within_quota else nullcontext(allowed) as reserved:
        # Those with a key first: one that is refused leaves out what depends on it.
        for task in sorted(reserved, key=lambda each: each.unique_key is None):
            try:
                restart.check(task.id)
                if task.unique_key is not None:
                    _restart_keyed(db, task)
            except ServiceError as error:
                skip(task, error)
            else:
                restarted.append(task)
        task_changes.restart_all(db, [task.id for task in restarted if task.unique_key is None])
    restart.apply(db, [task.id for task in restarted])
    schedules.reopen(db, [task.id for task in restarted if task.schedule_id is not None])
    outcome.done += len(restarted)
    due_tasks.wake_all_due(db, {task.id: task.queue for task in restarted})


@contextmanager
def _reserved(
    db: Session,
    tasks: Sequence[bulk.LockedTask],
    restarted: Sequence[bulk.LockedTask],
    skip: Callable[[bulk.LockedTask, ServiceError], None],
) -> Iterator[Sequence[bulk.LockedTask]]:
    """Reserve quota for these tasks. Yield those that have it.

    In the end that of `restarted` counts, and the others' is given back; after an error, that of all.
    """
    reserved: list[tuple[bulk.LockedTask, Reservation]] = []
    counted = set[UUID]()
    try:
        for owner, group in groupby(sorted(tasks, key=attrgetter("user_id")), attrgetter("user_id")):
            theirs = [(task, load_of_row(task.arguments_bytes, task.attached_bytes)) for task in group]
            try:
                together = quotas.reserve(db, owner, sum_of_loads(load for _, load in theirs))
                reserved += [(task, together._replace(wanted=load)) for task, load in theirs]
            except QuotaExceeded:  # as many of them as there is room for
                for task, load in theirs:
                    try:
                        reserved.append((task, quotas.reserve(db, owner, load)))
                    except QuotaExceeded as error:
                        skip(task, error)
        yield [task for task, _ in reserved]
        counted.update(task.id for task in restarted)
    finally:
        for task, reservation in reserved:
            reservation.end(committed=task.id in counted)


def _check_retry(doer: Doer, task: bulk.LockedTask, known_limits: Container[str]) -> None:
    if task.status not in UNSUCCESSFUL:
        raise InvalidTransition
    if doer.within_quota:
        check_may_run(task, Rights(doer.user_id, doer.role, doer.max_priority))
    if task.limit is not None and task.limit not in known_limits:
        raise UnknownLimit


def _restart_keyed(db: Session, task: bulk.LockedTask) -> None:
    if not unique_keys.take_again(db, task, lambda: task_changes.restart(db, task.id)):
        raise InvalidTransition


# -- The steps of running deeds ---------------------------------------------------------------------------------------


def running(db: Session) -> dict[UUID, list[UUID]]:
    """Return the running deeds of each user, the oldest first."""
    found: dict[UUID, list[UUID]] = {}
    statement = select(BulkDeed.user_id, BulkDeed.id).where(BulkDeed.state == DeedState.RUNNING.value)
    with transaction(db):
        for user_id, deed_id in db.execute(statement.order_by(BulkDeed.created_at, BulkDeed.id)):
            found.setdefault(user_id, []).append(deed_id)
    return found


def step(db: Session, deed_id: UUID) -> bool:
    """Do the next batch, or end the deed. False if nothing moved: another process does it, or its rows are locked."""
    return retry_deadlocks(lambda: _step(db, deed_id))


def _step(db: Session, deed_id: UUID) -> bool:
    with transaction(db):
        deed = bulk.lock_running(db, deed_id)
        if deed is None:
            return False
        user = db.execute(
            select(User.username, User.is_active, User.role, User.max_priority).where(User.id == deed.user_id)
        ).one()
        actor = Actor(deed.user_id, user.username)
        if not user.is_active:
            _end_deed(db, deed, DeedState.ABORTED, actor)
            return True
        batches = select(BulkBatch.number, BulkBatch.task_ids).where(BulkBatch.deed_id == deed_id)
        batch = db.execute(batches.order_by(BulkBatch.number).limit(1)).one_or_none()
        if batch is None:
            _end_deed(db, deed, DeedState.FINISHED, actor)
            return True
        doer = Doer(deed.user_id, user.role, user.max_priority, deed.as_admin, deed.within_quota)
        ids = unpack_ids(batch.task_ids)
        outcome = perform(db, Deed(deed.deed), doer, ids)
        _count_outcome(db, deed, outcome)
        put_back(db, deed_id, batch.number, outcome.left)
        return len(outcome.left) < len(ids)


def _count_outcome(db: Session, deed: BulkDeed, outcome: Outcome) -> None:
    values = {
        "done": deed.done + outcome.done,
        "failed": deed.failed + outcome.failed,
        "skipped": dict(Counter(deed.skipped) + outcome.skipped),
    }
    statement = update(BulkDeed).where(BulkDeed.id == deed.id).values(values)
    db.execute(statement.execution_options(synchronize_session=False))


def put_back(db: Session, deed_id: UUID, number: int, left: list[UUID]) -> None:
    """Delete the batch, or put what is left of it behind all others."""
    this = (BulkBatch.deed_id == deed_id, BulkBatch.number == number)
    if not left:
        db.execute(delete(BulkBatch).where(*this).execution_options(synchronize_session=False))
        return
    last = db.scalars(select(func.max(BulkBatch.number)).where(BulkBatch.deed_id == deed_id)).one()
    values = {"number": (last or 0) + 1, "task_ids": pack_ids(left)}
    db.execute(update(BulkBatch).where(*this).values(values).execution_options(synchronize_session=False))


def _end_deed(db: Session, deed: BulkDeed, state: DeedState, actor: Actor) -> None:
    told = counts(deed)
    end(db, deed.id, state)
    audit.record(db, BulkEvent.ENDED, Subject("bulk_deed", str(deed.id)), actor=actor, state=state.value, **told)
