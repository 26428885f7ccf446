"""How many tasks there are: by status under a filter, exactly, and those that wait, run and start in a queue.

The numbers of ended tasks are read from the kept sums (`app/models/task_count.py`), others from their indexes.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Select, Table, and_, exists, func, literal, select, union, union_all
from sqlalchemy.orm import Session

from app.core.ids import FIRST_ID, LAST_ID, time_of
from app.db.statements import task_filter
from app.db.statements.pending_rows import NEEDS_A_SLOT, PENDING, is_held
from app.ddl.clock import STATEMENT_TIME
from app.models.error_group import ErrorGroup
from app.models.task import ACTIVE, IS_RUNNING, TERMINAL, Held, Task, TaskPriority, TaskStatus
from app.models.task_count import KIND, task_count_changes, task_counts, task_totals
from app.models.task_filter import TaskFilter

# The users who have ended tasks, few of all users as a rule: each is in one of the two.
OWNERS_OF_ENDED = union(select(task_totals.c.user_id), select(task_count_changes.c.user_id))


def numbers_by_status(db: Session, wanted: TaskFilter, of_rows: task_filter.Conditions) -> dict[str, int]:
    """Return how many tasks there are of each status that has any. Exact: one statement, one snapshot.

    `of_rows`: the conditions of `task_filter.of_rows`.
    """
    if wanted.error and not task_filter.names_more(wanted) and not task_filter.of_times(wanted):
        statement = _added_up([*_of_error(wanted)])
    elif not of_rows:
        statement = _added_up([*_ended(wanted), *_active(wanted)])
    elif names_times_alone(wanted):
        statement = _added_up([*_within_time(db, wanted)])
    else:
        statement = (
            select(Task.status, func.count()).where(*task_filter.conditions_with(wanted, of_rows)).group_by(Task.status)
        )
    return {str(status): int(number) for status, number in db.execute(statement)}


def _added_up(parts: list[Select[*tuple[Any, ...]]]) -> Select[*tuple[Any, ...]]:
    numbers = union_all(*parts).subquery()
    return select(numbers.c.status, func.sum(numbers.c.number)).group_by(numbers.c.status)


def _within_time(db: Session, wanted: TaskFilter) -> Iterator[Select[*tuple[Any, ...]]]:
    """Those inside the times. Where that reads fewer rows: of the ended tasks, all minus those outside."""
    statuses = set(wanted.status) or set(TaskStatus)
    ended = replace(wanted, status=sorted(statuses & TERMINAL))
    if not ended.status or not holds_most_of_time(db, wanted):
        yield from numbers_inside(wanted)
        return
    yield from _ended(ended)
    for rest in filters_outside(ended):
        yield from numbers_inside(rest, -1)
    if active := sorted(statuses & ACTIVE):
        yield from numbers_inside(replace(wanted, status=active))


def _ended(wanted: TaskFilter) -> Iterator[Select[*tuple[Any, ...]]]:
    for table in (task_counts if task_filter.of_kind(wanted) else task_totals, task_count_changes):
        yield select(table.c.status, table.c.number).where(*conditions_on_numbers(table, wanted))


def _of_error(wanted: TaskFilter) -> Iterator[Select[*tuple[Any, ...]]]:
    """The tasks that are failed with this error: the number of its group and the changes not folded yet."""
    failed = literal(TaskStatus.FAILED.value).label("status")
    statuses = set(wanted.status) or set(TaskStatus)
    changes = task_count_changes.c
    for table, fingerprint, number in (
        (ErrorGroup.__table__, ErrorGroup.fingerprint, ErrorGroup.number.label("number")),
        (task_count_changes, changes.error, changes.number),
    ):
        of_error = [fingerprint == wanted.error, literal(TaskStatus.FAILED in statuses)]
        if wanted.user_id is not None:
            of_error.append(table.c.user_id == wanted.user_id)
        yield select(failed, number).where(*of_error)


def conditions_on_numbers(table: Table, wanted: TaskFilter) -> list[ColumnElement[bool]]:
    """Return the conditions of the filter on a table of numbers."""
    found = [
        table.c[name] == value for name in ("user_id", *KIND) if (value := getattr(wanted, name)) is not None
    ]  # fmt: skip
    return [*found, table.c.status.in_(sorted(set(wanted.status)))] if wanted.status else found


def _active(wanted: TaskFilter) -> Iterator[Select[*tuple[Any, ...]]]:
    # One SELECT for each status: only then does PostgreSQL use the index of these few rows.
    for status in sorted(ACTIVE & set(wanted.status) if wanted.status else ACTIVE):
        rest = task_filter.conditions_with(wanted, [], status=False)
        number = func.count().label("number")
        yield select(literal(status.value).label("status"), number).where(Task.status == status, *rest)


# -- Numbers of one user's tasks within a time of creation, read from an index -----------------------------------------
# An id tells the time of creation to within ID_SLACK. Tasks further inside than that are counted in the index
# `ix_tasks_user_status` alone; rows are read only near the edges. (docs/adr/0026)

# The resolution of the database's times: `<= t` is `< t + INSTANT`.
INSTANT = timedelta(microseconds=1)


def numbers_inside(wanted: TaskFilter, sign: int = 1) -> Iterator[Select[*tuple[Any, ...]]]:
    """Numbers by status, to be added up."""
    within, edges = [], []
    if wanted.created_after is not None:
        far = task_filter.id_at(wanted, wanted.created_after, 1, no_bound=LAST_ID)
        within.append(Task.id > far)
        edges.append(
            [Task.id >= task_filter.id_at(wanted, wanted.created_after, -1, no_bound=FIRST_ID), Task.id <= far]
        )
    if wanted.created_before is not None:
        far = task_filter.id_at(wanted, wanted.created_before, -1, no_bound=FIRST_ID)
        within.append(Task.id < far)
        # Without bounds one edge covers all ids: then the other one must cover none.
        low, high = (FIRST_ID, LAST_ID) if wanted.created_after is None else (LAST_ID, FIRST_ID)
        edges.append([
            Task.id >= task_filter.id_at(wanted, wanted.created_before, -1, no_bound=low),
            Task.id <= task_filter.id_at(wanted, wanted.created_before, 1, no_bound=high),
        ])  # fmt: skip
    states = sorted(set(wanted.status) or TaskStatus)
    number = (sign * func.count()).label("number")
    for status in states:
        of_status = [Task.status == status, *task_filter.of_owner(wanted), *within]
        yield select(literal(status.value).label("status"), number).where(*of_status)
    for edge in edges:
        of_edge = [Task.status.in_(states), *task_filter.of_owner(wanted), *edge, *task_filter.of_times(wanted)]
        yield select(Task.status, number).where(*of_edge).group_by(Task.status)


def filters_outside(wanted: TaskFilter) -> Iterator[TaskFilter]:
    """Filters for the times outside of this one's. They do not overlap."""
    if wanted.created_after is not None:
        yield replace(wanted, created_after=None, created_before=wanted.created_after + INSTANT)
    if wanted.created_before is not None:
        yield replace(wanted, created_after=wanted.created_before - INSTANT, created_before=None)


def names_times_alone(wanted: TaskFilter) -> bool:
    """Return whether the filter names a user and times alone, and the edges do not meet."""
    if wanted.user_id is None or wanted.error or task_filter.names_more(wanted):
        return False
    if wanted.created_after is None or wanted.created_before is None:
        return wanted.created_after is not wanted.created_before
    return wanted.created_before - wanted.created_after > 3 * task_filter.ID_SLACK


def holds_most_of_time(db: Session, wanted: TaskFilter) -> bool:
    """Whether more of the time from the user's first to the last task lies inside than outside: estimates the rows."""
    ids = select(Task.id).where(*task_filter.of_owner(wanted)).limit(1)
    oldest, newest = (ids.order_by(order).scalar_subquery() for order in (Task.id, Task.id.desc()))
    first, last = db.execute(select(oldest, newest)).one()
    if first is None:
        return False
    begin, end = time_of(first), time_of(last)
    since = begin if wanted.created_after is None else max(begin, wanted.created_after.timestamp())
    until = end if wanted.created_before is None else min(end, wanted.created_before.timestamp())
    return until - since > (end - begin) / 2


# -- How many tasks wait, run and have started in each queue, and who serves it ----------------------------------------

Rows = Sequence[Sequence[Any]]

_MINUTE_AGO = STATEMENT_TIME - timedelta(minutes=1)
_RUNNING = select(Task.queue, Task.worker_id, func.count()).where(IS_RUNNING).group_by(Task.queue, Task.worker_id)
_STARTED = select(Task.queue, func.count()).where(Task.started_at > _MINUTE_AGO).group_by(Task.queue)
# How many users one statement names.
_USERS_AT_ONCE = 500


class RunningTasks(NamedTuple):
    """How many tasks of a queue run on a worker."""

    queue: str
    worker_id: UUID | None
    number: int


def read_running_by_queue(db: Session) -> list[RunningTasks]:
    """Return the numbers of running tasks, of each queue and worker that has any."""
    return [RunningTasks(*row) for row in db.execute(_RUNNING)]


def read_starts_by_queue(db: Session) -> Rows:
    """Return of each queue its name, and how many tasks have a last attempt that began within a minute."""
    users = db.scalars(OWNERS_OF_ENDED).all()
    # By user, because the index of ended tasks begins with the user.
    batches = [Task.user_id.in_(users[at : at + _USERS_AT_ONCE]) for at in range(0, len(users), _USERS_AT_ONCE)]
    starts = Counter[str]()
    for which in (IS_RUNNING, *(batch & (Task.finished_at > _MINUTE_AGO) for batch in batches)):
        for queue, number in db.execute(_STARTED.where(which)):
            starts[queue] += number
    return list(starts.items())


def front_of_line(db: Session, queue: str, priority: str, most: int) -> Rows:
    """Of each user among the first `most` tasks of a line that need nothing but a slot: the id, and how many."""
    line = (*NEEDS_A_SLOT, Task.queue == queue, Task.priority == priority)
    front = select(Task.user_id).where(*line).order_by(Task.turn, Task.id).limit(most).subquery()
    return db.execute(select(front.c.user_id, func.count()).group_by(front.c.user_id)).all()


def due_of_user(db: Session, user_id: UUID, most: int) -> Rows:
    """Return of each queue its name, and how many of the newest `most` pending tasks of the user need only a slot."""
    columns = (Task.queue, Task.turn, Task.held)
    newest = select(*columns).where(PENDING, Task.user_id == user_id).order_by(Task.id.desc()).limit(most)
    found = newest.subquery()
    needs_a_slot = (found.c.turn.is_not(None), found.c.held.is_(None))
    return db.execute(select(found.c.queue, func.count()).where(*needs_a_slot).group_by(found.c.queue)).all()


def has_unfinished_in_queue(db: Session, queue: str) -> bool:
    """Return whether a task of this queue runs, or waits and was sent. Counts nothing."""
    sent = (PENDING, Task.turn.is_not(None), Task.priority.in_(list(TaskPriority)))
    # One by one, as indexes have them.
    held = (Task.held.is_(None), *(is_held(each) for each in Held if each is not Held.LIMIT_KEY))
    held = (*held, and_(is_held(Held.LIMIT_KEY), Task.limit_key.is_not(None)))
    states = ((IS_RUNNING,), *((*sent, each) for each in held))
    return any(db.scalar(select(exists().where(*state, Task.queue == queue))) for state in states)
