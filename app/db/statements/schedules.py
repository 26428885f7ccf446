"""Schedules: which are due, which of their tasks have not ended, and what is written of many at once."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, cast
from uuid import UUID

from sqlalchemy import ColumnElement, Select, delete, exists, func, insert, literal, or_, select, update
from sqlalchemy.orm import Session

from app.db.statements.expressions import octet_length
from app.db.statements.reads import is_one_of
from app.db.statements.tables import SCHEDULE_RUNS, SCHEDULES
from app.db.statements.writes import changed_rows, value_by
from app.ddl.clock import STATEMENT_TIME
from app.ddl.columns import UTCDateTime
from app.ddl.indexes import SCHEDULED_FOR
from app.models.schedule import RunKind, Schedule
from app.models.task import Task
from app.schedules.policies import Overlap

_S, _R, _T = SCHEDULES.c, SCHEDULE_RUNS.c, Task.__table__.c
# Users are found among so many that are due, the longest first.
MOST_DUE = 100_000
_BYTES = (octet_length(_S.task) + octet_length(_S.tags) + octet_length(_S.metadata)).label("bytes")
_IS_TIME = _R.kind == RunKind.TIME.value
_IS_ACTIVE = exists().where(_T.id == _R.task_id, _T.finished_at.is_(None))


class Found(NamedTuple):
    """A schedule that maintenance has to look at, and the bytes of what its owner has written."""

    user_id: UUID
    id: UUID
    bytes: int


class Locked(NamedTuple):
    """What must not have changed since a schedule was read. Its row is locked until the commit."""

    version: int
    done_until: datetime
    held_for: datetime | None


def due(db: Session, most: int) -> list[Found]:
    """Return due schedules, at most `most`: the first one of each user, then the second one of each, and so on.

    Those that are due for longest come first among the first ones, among the second ones, and so on.
    """
    # In the order of the index: else SQLite would take the one that has the users.
    columns = (_S.user_id, _S.id, _S.due_at)
    found = select(*columns).where(_S.due_at <= STATEMENT_TIME).order_by(_S.due_at).limit(MOST_DUE).subquery().c
    place = func.row_number().over(partition_by=found.user_id, order_by=found.due_at).label("place")
    rows = select(found.user_id, found.id, found.due_at, place).subquery().c
    ordered = select(rows.user_id, rows.id, rows.due_at, rows.place).order_by(rows.place, rows.due_at, rows.id)
    first = ordered.limit(most).subquery().c
    # Of the chosen ones alone, each by its key.
    size = select(_BYTES).where(_S.id == first.id).scalar_subquery()
    chosen = select(first.user_id, first.id, size).order_by(first.place, first.due_at, first.id)
    return [Found(*row) for row in db.execute(chosen)]


def free_again(db: Session, most: int) -> list[Found]:
    """Return the schedules with a time that waits for the end of a task, which has ended."""
    waiting = select(_S.user_id, _S.id, _BYTES).where(*_is_free_again())
    return [Found(*row) for row in db.execute(waiting.order_by(_S.held_for).limit(most))]


def _is_free_again() -> tuple[ColumnElement[bool], ...]:
    active = exists().where(_R.schedule_id == _S.id, _R.is_open, _T.id == _R.task_id, _T.finished_at.is_(None))
    return _S.held_for.is_not(None), ~_S.paused, or_(_S.overlap == Overlap.ALLOW.value, ~active)


def to_be_fired() -> tuple[Select[UUID], Select[UUID]]:
    """Return the SELECTs of the ids of `due` and of `free_again`, in their orders."""
    is_due = select(_S.id).where(_S.due_at <= STATEMENT_TIME).order_by(_S.due_at)
    return is_due, select(_S.id).where(*_is_free_again()).order_by(_S.held_for)


def read(db: Session, ids: Collection[UUID]) -> tuple[list[Schedule], dict[UUID, set[datetime]]]:
    """Return those of these schedules that are not paused, and the times of `times_done`.

    As rows, which are read like the objects and cost a third. They have `bytes` besides.
    """
    ahead = exists().where(_R.schedule_id == _S.id, _IS_TIME, _R.scheduled_for > _S.done_until)
    found = select(SCHEDULES, ahead.label("is_ahead"), _BYTES).where(is_one_of(_S.id, "ids"), ~_S.paused)
    rows = db.execute(found, {"ids": list(ids)}).all()
    with_done = [row.id for row in rows if row.is_ahead]
    return cast("list[Schedule]", rows), times_done(db, with_done) if with_done else {}


def lock(db: Session, ids: Collection[UUID], *, paused_too: bool = False) -> dict[UUID, Locked]:
    """Lock those of these schedules that no other transaction has locked, and that are not paused."""
    which = [is_one_of(_S.id, "ids"), *([] if paused_too else [~_S.paused])]
    rows = select(_S.id, _S.version, _S.done_until, _S.held_for).where(*which).order_by(_S.id)
    return {row[0]: Locked(*row[1:]) for row in db.execute(rows.with_for_update(skip_locked=True), {"ids": list(ids)})}


def times_done(db: Session, ids: Collection[UUID]) -> dict[UUID, set[datetime]]:
    """Return the times that have a task already, though the schedules have not come to them: by a backfill."""
    ahead = select(_R.schedule_id, _R.scheduled_for).join(SCHEDULES, _S.id == _R.schedule_id)
    found: dict[UUID, set[datetime]] = {}
    # Of the runs' column: of the other one, PostgreSQL would look for it in the list once for each row.
    ahead = ahead.where(is_one_of(_R.schedule_id, "ids"), _IS_TIME, _R.scheduled_for > _S.done_until)
    for schedule_id, time in db.execute(ahead, {"ids": list(ids)}):
        found.setdefault(schedule_id, set()).add(time)
    return found


def times_of_tasks(db: Session, schedule_id: UUID, first: datetime, last: datetime, most: int) -> Sequence[str]:
    """Return the nominal times of this schedule's tasks from the first to the last one, as their metadata tell them."""
    begin, end = (each.astimezone(UTC).isoformat(timespec="seconds").removesuffix("+00:00") for each in (first, last))
    # Of whole seconds: as a text, the `.` of a fraction comes before the `Z` of a second without one.
    within = SCHEDULED_FOR.between(begin, f"{end}Z")
    times = select(SCHEDULED_FOR).select_from(Task).where(_T.schedule_id == schedule_id, within)
    return db.scalars(times.limit(most)).all()


def active_tasks(db: Session, ids: Collection[UUID]) -> dict[UUID, list[UUID]]:
    """Return the pending and running tasks that these schedules fired by themselves. Notes which of them have ended."""
    rows = select(_R.schedule_id, _R.task_id, _T.id.is_not(None) & _T.finished_at.is_(None)).outerjoin_from(
        SCHEDULE_RUNS, Task.__table__, _T.id == _R.task_id
    )
    active: dict[UUID, list[UUID]] = {}
    ended = []
    found = db.execute(rows.where(is_one_of(_R.schedule_id, "ids"), _R.is_open), {"ids": list(ids)})
    for schedule_id, task_id, is_active in found:
        if is_active:
            active.setdefault(schedule_id, []).append(task_id)
        else:
            ended.append(task_id)
    if ended:
        _close(db, ended)
    return active


def _close(db: Session, task_ids: Collection[UUID]) -> None:
    """Note that these tasks have ended, where that is so still, and where no retry has locked the row.

    A statement of its own locks them: only the next one sees what was committed until then.
    """
    rows = select(_R.task_id).where(_R.task_id.in_(task_ids), _R.is_open)
    locked = db.scalars(rows.with_for_update(skip_locked=True)).all()
    db.execute(update(SCHEDULE_RUNS).where(_R.task_id.in_(locked), ~_IS_ACTIVE).values(is_open=False))


def reopen(db: Session, task_ids: Collection[UUID]) -> None:
    """Count these tasks, which run again, as fired by their schedules, if they were."""
    own = exists().where(_T.id == _R.task_id, _T.schedule_id == _R.schedule_id)
    fired = (_R.task_id.in_(task_ids), _IS_TIME, ~_R.by_backfill, own)
    if task_ids:
        db.execute(update(SCHEDULE_RUNS).where(*fired).values(is_open=True))


def insert_runs(db: Session, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows; they need not name the same columns. Raises IntegrityError if a time has a row already."""
    alike: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in rows:
        alike.setdefault(tuple(row), []).append(dict(row))
    for found in alike.values():
        db.execute(insert(SCHEDULE_RUNS), found)


def write_fired(db: Session, fired: Mapping[UUID, datetime], now: datetime) -> None:
    """Write, in one statement, that these schedules have made the task of their last time, and their next times."""
    if not fired:
        return
    # Most of those that are due at one time are due at one time again.
    ((usual, _),) = Counter(fired.values()).most_common(1)
    others = {each: literal(time, UTCDateTime) for each, time in fired.items() if time != usual}
    next_run_at: ColumnElement[Any] = literal(usual, UTCDateTime)
    if others:
        next_run_at = func.coalesce(value_by(_S.id, others), next_run_at)
    last = select(_R.task_id).where(_R.schedule_id == _S.id, _IS_TIME).order_by(_R.scheduled_for.desc()).limit(1)
    values = {"next_run_at": next_run_at, "due_at": next_run_at, "last_task_id": last.scalar_subquery()}
    changed = update(SCHEDULES).where(_S.id.in_(fired))
    db.execute(changed.values(**values, runs=_S.runs + 1, last_run_at=now, done_until=now))


def write(db: Session, schedule_id: UUID, **values: Any) -> None:
    """Change these columns of a schedule."""
    db.execute(update(SCHEDULES).where(_S.id == schedule_id).values(**values))


def write_told(db: Session, ids: Collection[UUID], now: datetime) -> None:
    """Write that receivers are told of skipped times of these schedules."""
    if ids:
        db.execute(update(SCHEDULES).where(_S.id.in_(ids)).values(skip_told_at=now))


def trim_runs(db: Session, schedule_id: UUID, keep: int) -> int:
    """Delete all but the newest `keep` rows, and those of active tasks. Returns how many."""
    of_schedule = _R.schedule_id == schedule_id
    newest = select(_R.scheduled_for).where(of_schedule).order_by(_R.scheduled_for.desc()).offset(keep).limit(1)
    last = db.scalar(newest)
    if last is None:
        return 0
    old = delete(SCHEDULE_RUNS).where(of_schedule, _R.scheduled_for <= last, ~_IS_ACTIVE)
    return changed_rows(db.execute(old))


def old_runs(age: timedelta) -> tuple[Any, Any]:
    """Return the conditions of rows that are older than this, but for those of active tasks."""
    return (_R.created_at < STATEMENT_TIME - age, ~_IS_ACTIVE)


def with_other_zones(db: Session, version: str, most: int) -> Sequence[UUID]:
    """Return some of the schedules whose next time was computed by another version of the time zones."""
    return db.scalars(select(_S.id).where(_S.tzdata != version).limit(most)).all()
