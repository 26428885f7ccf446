"""The ids of a page of tasks, newest first (docs/adr/0026).

Its streams (`app/db/statements/task_streams.py`) are index scans. Conditions that no index serves are looked up in
the rows, of which a page reads a bounded number.
"""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.db.statements.task_filter import of_kind, of_rows, of_status, own_index
from app.db.statements.task_numbers import conditions_on_numbers
from app.db.statements.task_streams import merged_ids, start_of
from app.ddl.indexes import TASK_KIND
from app.models.task import ACTIVE, TERMINAL, Task, TaskStatus
from app.models.task_count import task_count_changes, task_counts
from app.models.task_filter import TaskFilter

# At most so many kinds of ended tasks get a stream each, which together give at most so many ids.
MAX_KINDS, MAX_IDS = 32, 100_000


def page_ids(
    db: Session, wanted: TaskFilter, need: int, *, before: UUID | None, skip: int, look: int
) -> tuple[list[UUID], UUID | None]:
    """Return the first `need` ids after `skip` of those below `before`, reading at most about `look` rows.

    Returns them with the lowest id that was read where reading stopped before the end, else with None.
    """
    through = skip + need
    streams = _streams(wanted, number_of_kinds(db, wanted, through), start_of(wanted, before), through, look)
    return merged_ids(db, [*streams], need, skip)


def number_of_kinds(db: Session, wanted: TaskFilter, need: int) -> int | None:
    """Return how many kinds of ended tasks fit; None where streams by kind are of no use, or there are too many."""
    if wanted.user_id is None or own_index(wanted) is not None or not of_kind(wanted):
        return None
    most = min(MAX_KINDS, MAX_IDS // need)
    number = len(db.execute(_kinds(wanted, most + 1).limit(most + 1)).all())
    return None if number > most else number


def _kinds(wanted: TaskFilter, most: int | None = None) -> sa.CompoundSelect[Any]:
    """Return the kinds of ended tasks that fit, by their number in the index.

    At most `most` of the kept sums are read: a user may have as many task types as tasks.
    """
    kind = sa.literal_column(TASK_KIND, sa.BigInteger).label("kind")
    kept, new = (
        sa.select(kind).select_from(table).where(*conditions_on_numbers(table, wanted))
        for table in (task_counts, task_count_changes)
    )
    return sa.union(sa.select(kept.limit(most).subquery()), new)


def _streams(
    wanted: TaskFilter, kinds: int | None, start: list[sa.ColumnElement[bool]], need: int, look: int
) -> Iterator[sa.Select[Any]]:
    rest = [*of_kind(wanted), *of_rows(wanted)]
    if own_index(wanted) is not None or wanted.user_id is None or (of_kind(wanted) and kinds is None):
        yield _stream(start, [*of_status(wanted), *rest], need, look)
        return
    if kinds is None and not wanted.status:
        yield _stream(start, rest, need, look)
        return
    statuses = set(wanted.status) or set(TaskStatus)
    by_status = sorted(statuses if kinds is None else statuses & ACTIVE)
    share = max(look // (len(by_status) + (kinds or 0) or 1), 1)
    for status in by_status:
        yield _stream([*start, Task.status == status], rest, need, share)
    if kinds is not None and statuses & TERMINAL:
        yield _by_kind(wanted, start, need, share)


def _by_kind(wanted: TaskFilter, start: list[sa.ColumnElement[bool]], need: int, look: int) -> sa.Select[Any]:
    """Return a stream for each kind of ended tasks.

    The kinds are read again, in the snapshot of the other streams: else a task that ends meanwhile, as the first of its
    kind, would be in no stream.
    """
    of_kind = sa.literal_column(TASK_KIND, sa.BigInteger) == sa.literal_column("kinds.kind", sa.BigInteger)
    ids = _stream([*start, Task.finished_at.is_not(None), of_kind], of_rows(wanted), need, look).lateral("of_kind")
    return sa.select(ids).select_from(_kinds(wanted).subquery("kinds").join(ids, sa.true()))


def _stream(
    start: list[sa.ColumnElement[bool]], rest: list[sa.ColumnElement[bool]], need: int, look: int
) -> sa.Select[Any]:  # fmt: skip
    """Return at most `need` ids that fit, and, where `look` rows were read, the last of these rows."""
    if not rest:
        ids = sa.select(Task.id, sa.true().label("fits"), sa.literal(value=False).label("is_edge")).where(*start)
        found = ids.order_by(Task.id.desc()).limit(need).subquery()
        return sa.select(found)
    place = sa.func.row_number().over(order_by=Task.id.desc())
    seen = sa.select(Task.id, sa.and_(*rest).label("fits"), (place == look).label("is_edge")).where(*start)
    rows = seen.order_by(Task.id.desc()).limit(look).subquery()
    found = sa.select(rows).where(sa.or_(rows.c.fits, rows.c.is_edge)).order_by(rows.c.id.desc()).limit(need).subquery()
    return sa.select(found)
