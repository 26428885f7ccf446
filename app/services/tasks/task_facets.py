"""How often each value of a field occurs among the tasks that a filter finds: the ways to narrow a search down."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.core.config import get_settings
from app.db.statements import newest_tasks, reads, task_counting
from app.db.statements.task_conditions import own_index
from app.models.task import ACTIVE
from app.models.task_count import task_count_changes, task_counts
from app.models.task_filter import TaskFilter
from app.services.operations.live_workers import look as look_at_workers
from app.services.tasks.task_counts import reads_many
from app.services.tasks.task_pages import LOOK

# Rows that are counted one by one, and values of a field that are told.
MOST_ROWS = 1000
MOST_VALUES = 8
# Fields that the sums of ended tasks have, and one that stands in the rows alone.
_KEPT = ("status", "queue", "celery_task_name", "user_id")
FIELDS = (*_KEPT, "tag")
_COLUMNS = (*_KEPT, "tags")


@dataclass(frozen=True)
class Value:
    """A value of a field, and in how many tasks it is; in more than that if it `is_more`."""

    value: Any
    number: int
    is_more: bool


def facets(db: Session, wanted: TaskFilter, fields: Sequence[str] = FIELDS) -> dict[str, list[Value]]:
    """Return the values that occur most, of each of these fields.

    Up to MOST_ROWS tasks are counted. Of more, the ended ones are read from the sums where these have the filter and
    the field; other numbers are those of the newest tasks, and are marked. Has DATABASE_COSTLY_READ_SECONDS.
    """
    rows, is_all = _newest(db, wanted, _COLUMNS, get_settings().costly_read_seconds)
    newest = {field: _counted(field, rows) for field in fields}
    if is_all or reads_many(wanted) or own_index(wanted) is not None:
        return {field: _largest(numbers, is_more=not is_all) for field, numbers in newest.items()}
    active, has_all = _active(db, wanted)
    return {
        field: _largest(_of_sums(db, wanted, field, _counted(field, active)), is_more=not has_all)
        if field in _KEPT
        else _largest(numbers, is_more=True)
        for field, numbers in newest.items()
    }


def number_of(db: Session, wanted: TaskFilter) -> tuple[int, bool] | None:
    """Return how many tasks match, MOST_ROWS of the newest at most, and whether there are more.

    None if that takes longer than DATABASE_COSTLY_READ_SECONDS.
    """
    seconds = get_settings().costly_read_seconds
    found = reads.read_within(db, seconds, lambda: _newest(db, wanted, ("id",), seconds))
    return None if found is None else (len(found[0]), not found[1])


def _newest(
    db: Session, wanted: TaskFilter, columns: Sequence[str], seconds: float
) -> tuple[Sequence[sa.Row[Any]], bool]:  # fmt: skip
    reads.limit_read(db, seconds)
    if wanted.waiting_for is not None:
        look_at_workers(db)
    return newest_tasks.values_of(db, wanted, columns, MOST_ROWS, LOOK)


def _counted(field: str, rows: Iterable[sa.Row[Any]]) -> Counter[Any]:
    if field == "tag":
        return Counter(tag for row in rows for tag in row.tags)
    return Counter(getattr(row, field) for row in rows)


def _largest(numbers: Counter[Any], *, is_more: bool) -> list[Value]:
    most = sorted(numbers.items(), key=lambda each: (-each[1], str(each[0])))[:MOST_VALUES]
    return [Value(value, number, is_more) for value, number in most if number > 0]


def _of_sums(db: Session, wanted: TaskFilter, field: str, active: Counter[Any]) -> Counter[Any]:
    """In how many tasks each value is that most ended ones have, or most active ones."""
    parts = [
        sa.select(table.c[field].label("value"), table.c.number).where(*task_counting.counted(table, wanted))
        for table in (task_counts, task_count_changes)
    ]
    found = sa.union_all(*parts).subquery()
    number = sa.func.sum(found.c.number)
    sums = sa.select(found.c.value, number).group_by(found.c.value)
    largest = sums.order_by(number.desc()).limit(MOST_VALUES)
    frequent = active.most_common(MOST_VALUES)
    named = sums.where(found.c.value.in_([value for value, _ in frequent]))
    ended = {value: int(counted) for statement in (largest, named) for value, counted in db.execute(statement)}
    return Counter({value: ended.get(value, 0) + active[value] for value in {*ended, *dict(frequent)}})


def _active(db: Session, wanted: TaskFilter) -> tuple[list[sa.Row[Any]], bool]:
    """The tasks that have not ended, MOST_ROWS of each state at most, and whether these are all."""
    rows: list[sa.Row[Any]] = []
    has_all = True
    for status in sorted(ACTIVE & set(wanted.status) if wanted.status else ACTIVE):
        found, is_all = newest_tasks.values_in(db, wanted, status, _COLUMNS, MOST_ROWS, LOOK)
        rows += found
        has_all = has_all and is_all
    return rows, has_all
