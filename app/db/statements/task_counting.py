"""Exact numbers of tasks: ended ones from the kept sums (`app/models/task_count.py`), others from their indexes."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from sqlalchemy import ColumnElement, Select, Table, func, literal, select, union, union_all
from sqlalchemy.orm import Session

from app.db.statements import task_time_counts
from app.db.statements.task_conditions import Conditions, conditions, names_more, of_kind, of_times
from app.models.error_group import ErrorGroup
from app.models.task import ACTIVE, TERMINAL, Task, TaskStatus
from app.models.task_count import KIND, task_count_changes, task_counts, task_totals
from app.models.task_filter import TaskFilter

# The users who have ended tasks, few of all users as a rule: each is in one of the two.
OWNERS_OF_ENDED = union(select(task_totals.c.user_id), select(task_count_changes.c.user_id))


def by_status(db: Session, wanted: TaskFilter, of_rows: Conditions) -> dict[str, int]:
    """How many tasks there are of each status that has any. Exact: one statement, one snapshot.

    `of_rows`: the conditions of `task_filter.of_rows`.
    """
    if wanted.error and not names_more(wanted) and not of_times(wanted):
        statement = _added_up([*_of_error(wanted)])
    elif not of_rows:
        statement = _added_up([*_ended(wanted), *_active(wanted)])
    elif task_time_counts.serves(wanted):
        statement = _added_up([*_within_time(db, wanted)])
    else:
        statement = select(Task.status, func.count()).where(*conditions(wanted, of_rows)).group_by(Task.status)
    return {str(status): int(number) for status, number in db.execute(statement)}


def _added_up(parts: list[Select[*tuple[Any, ...]]]) -> Select[*tuple[Any, ...]]:
    numbers = union_all(*parts).subquery()
    return select(numbers.c.status, func.sum(numbers.c.number)).group_by(numbers.c.status)


def _within_time(db: Session, wanted: TaskFilter) -> Iterator[Select[*tuple[Any, ...]]]:
    """Those inside the times. Where that reads fewer rows: of the ended tasks, all minus those outside."""
    statuses = set(wanted.status) or set(TaskStatus)
    ended = replace(wanted, status=sorted(statuses & TERMINAL))
    if not ended.status or not task_time_counts.holds_most(db, wanted):
        yield from task_time_counts.inside(wanted)
        return
    yield from _ended(ended)
    for rest in task_time_counts.outside(ended):
        yield from task_time_counts.inside(rest, -1)
    if active := sorted(statuses & ACTIVE):
        yield from task_time_counts.inside(replace(wanted, status=active))


def _ended(wanted: TaskFilter) -> Iterator[Select[*tuple[Any, ...]]]:
    for table in (task_counts if of_kind(wanted) else task_totals, task_count_changes):
        yield select(table.c.status, table.c.number).where(*counted(table, wanted))


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


def counted(table: Table, wanted: TaskFilter) -> list[ColumnElement[bool]]:
    """The conditions of the filter on a table of numbers."""
    found = [
        table.c[name] == value for name in ("user_id", *KIND) if (value := getattr(wanted, name)) is not None
    ]  # fmt: skip
    return [*found, table.c.status.in_(sorted(set(wanted.status)))] if wanted.status else found


def _active(wanted: TaskFilter) -> Iterator[Select[*tuple[Any, ...]]]:
    # One SELECT for each status: only then does PostgreSQL use the index of these few rows.
    for status in sorted(ACTIVE & set(wanted.status) if wanted.status else ACTIVE):
        rest = conditions(wanted, [], status=False)
        number = func.count().label("number")
        yield select(literal(status.value).label("status"), number).where(Task.status == status, *rest)
