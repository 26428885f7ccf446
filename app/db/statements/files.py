"""Files, artifacts, and what names them: their rows. The bytes are in the storage."""

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any, NamedTuple, cast
from uuid import UUID

from sqlalchemy import ColumnElement, Select, Table, and_, bindparam, case, exists, insert, literal, or_, select, update
from sqlalchemy.orm import Session

from app.db.statements.reads import has_rows
from app.db.statements.tables import TASKS
from app.db.statements.writes import changed_rows
from app.db.transactions import Executes
from app.ddl.clock import STATEMENT_TIME, seconds
from app.models.schedule import Schedule
from app.models.stored_file import FileState, FileUse, StoredFile
from app.models.task import AttemptOutcome, TaskAttempt, TaskStatus

_F = cast("Table", StoredFile.__table__)
_USES = cast("Table", FileUse.__table__)
_ACTIVE = (TaskStatus.PENDING.value, TaskStatus.RUNNING.value)
# An upload that has not said for so long that it goes on is over: its process is gone.
SILENT_AFTER = timedelta(minutes=5)
# A content that the storage does not delete is tried again after a wait: until so long after it was dropped, this one.
_TRIED_AGAIN = (
    (timedelta(minutes=1), timedelta(seconds=10)),
    (timedelta(minutes=10), timedelta(minutes=1)),
    (timedelta(hours=2), timedelta(minutes=10)),
)
LONGEST_WAIT = timedelta(hours=1)

IS_ARTIFACT = _F.c.attempt.is_not(None)
_WAITING = [FileState.WRITING.value, FileState.HELD.value, FileState.PARTIAL.value]  # artifacts
_ITS_TASK, _OWNED = TASKS.alias("its_task"), TASKS.alias("owned_by")
_HAS_SUCCEEDED = exists().where(
    _ITS_TASK.c.id == _F.c.task_id,
    _ITS_TASK.c.status == TaskStatus.SUCCEEDED.value,
    _ITS_TASK.c.attempt == _F.c.attempt,
)
_WAS_LOST = exists().where(
    TaskAttempt.task_id == _F.c.task_id,
    TaskAttempt.number == _F.c.attempt,
    # No IN: a worker prepares the statement, and an IN has a text for each number of values.
    or_(TaskAttempt.outcome == AttemptOutcome.WORKER_LOST, TaskAttempt.outcome == AttemptOutcome.HANDED_BACK),
)
_IS_FILE: ColumnElement[bool] = ~IS_ARTIFACT & (_F.c.state == FileState.KEPT.value)
_IS_OF_USER = _F.c.user_id.is_not(None)  # else the user was deleted
IS_UPLOADED = and_(_IS_FILE, _IS_OF_USER)
_IS_OF_TASK = _F.c.task_id.is_not(None)
# By the rows of the task and its attempt, not by what maintenance has made of them since.
IS_VISIBLE = _IS_OF_USER & or_(
    _IS_FILE,
    _IS_OF_TASK
    & or_(
        _F.c.state == FileState.KEPT.value,
        (_F.c.state == FileState.PARTIAL.value) & ~_WAS_LOST,
        (_F.c.state == FileState.HELD.value) & _HAS_SUCCEEDED,
    ),
)
"""The condition that a user sees it: a file once it is there, an artifact as docs/files.md says."""


class Attempt(NamedTuple):
    """Of a task, that writes an artifact."""

    task_id: UUID
    number: int

    def runs(self) -> ColumnElement[bool]:
        """Return the condition on a row of `tasks`."""
        return (
            (TASKS.c.id == self.task_id)
            & (TASKS.c.attempt == self.number)
            & (TASKS.c.status == TaskStatus.RUNNING.value)
        )


def begin_file(db: Session, file_id: UUID, user_id: UUID, name: str, content_type: str) -> None:
    """Note that the bytes of a file come. Raises IntegrityError where the user is gone."""
    db.execute(insert(_F).values(id=file_id, user_id=user_id, name=name, content_type=content_type))


def begin_artifact(db: Session, file_id: UUID, of: Attempt, name: str, content_type: str) -> bool:
    """Note that the bytes of an artifact come. Returns False where the attempt no longer holds its task."""
    held = db.execute(select(TASKS.c.user_id).where(of.runs()).with_for_update(read=True)).one_or_none()
    if held is None:
        return False
    row = {"id": file_id, "user_id": held.user_id, "task_id": of.task_id, "attempt": of.number}
    if (
        db.execute(select(_F.c.id).where(_F.c.id == file_id)).one_or_none() is None
    ):  # else repeated, after a lost answer
        db.execute(insert(_F).values(**row, name=name, content_type=content_type))
    return True


def touch(db: Session, file_id: UUID) -> bool:
    """Note that the bytes still come. Returns False where that is too late."""
    values = {"touched_at": STATEMENT_TIME}
    return _change(db, values, _F.c.id == file_id, _F.c.state == FileState.WRITING.value) > 0


def finish_file(db: Session, file_id: UUID, size: int, sha256: str, keep_for: timedelta) -> bool:
    """Note that the bytes of a file are there. Returns False where that is too late."""
    values = {"state": FileState.KEPT.value, "size": size, "sha256": sha256, "expires_at": STATEMENT_TIME + keep_for}
    return _change(db, values, _F.c.id == file_id, _F.c.state == FileState.WRITING.value) > 0


def finish_artifact(db: Session, file_id: UUID, of: Attempt, size: int, sha256: str, *, partial: bool) -> bool:
    """Note that the bytes of an artifact are there. It replaces what this attempt has saved alike under its name.

    What others have saved under it goes once this one is there for good (`_drop_superseded`). Returns False as
    `begin_artifact`. Safe to run again, after a lost answer.
    """
    if db.execute(select(TASKS.c.id).where(of.runs()).with_for_update(read=True)).one_or_none() is None:
        return False
    state = FileState.PARTIAL if partial else FileState.HELD
    values = {"state": state.value, "size": size, "sha256": sha256}
    _change(db, values, _F.c.id == file_id, _F.c.state == FileState.WRITING.value)
    named = select(_F.c.name).where(_F.c.id == file_id).scalar_subquery()
    same = select(_F.c.id).where(
        _F.c.task_id == of.task_id, _F.c.name == named, _F.c.attempt == of.number, _F.c.state == state.value
    )
    if older := [each for each in db.scalars(same) if each != file_id]:
        drop(db, _F.c.id.in_(older))
    return True


def drop(db: Session, *which: ColumnElement[bool]) -> int:
    """Have maintenance delete these. Returns how many."""
    values = {"state": FileState.DROPPED.value, "size": 0, "touched_at": STATEMENT_TIME}
    return _change(db, values, *which, _F.c.state != FileState.DROPPED.value)


def forget(db: Session, ids: Collection[UUID]) -> None:
    """Delete the rows of contents whose bytes are deleted."""
    db.execute(_F.delete().where(_F.c.id.in_(ids), _F.c.state == FileState.DROPPED.value))


def artifacts(db: Session, task_id: UUID, *which: ColumnElement[bool]) -> Sequence[StoredFile]:
    """Return the artifacts of a task that are seen, by name; the newest of one name."""
    rows = db.scalars(
        select(StoredFile)
        .where(StoredFile.task_id == task_id, IS_ARTIFACT, IS_VISIBLE, *which)
        .order_by(StoredFile.name, StoredFile.attempt, StoredFile.id)
    )
    return list({row.name: row for row in rows}.values())


def lock_named(db: Session, ids: Collection[UUID], user_id: UUID) -> Mapping[UUID, UUID | None]:
    """Keep these from being deleted until the commit. Returns those that the user sees, each with its task."""
    found = select(_F.c.id, _F.c.task_id).where(_F.c.id.in_(ids), _F.c.user_id == user_id, IS_VISIBLE)
    return {row.id: row.task_id for row in db.execute(found.order_by(_F.c.id).with_for_update(read=True, of=_F))}


def keep_named_by(db: Session, users: Collection[UUID]) -> None:
    """Keep what these tasks name, which run again, from being deleted until the commit."""
    named = select(_USES.c.file_id).where(_USES.c.used_by.in_(users))
    db.execute(select(_F.c.id).where(_F.c.id.in_(named)).order_by(_F.c.id).with_for_update(read=True, of=_F)).all()


def set_uses(db: Session, uses: Mapping[UUID, Collection[UUID]]) -> None:
    """Note which files each of these tasks or schedules names, in the place of what was noted for it."""
    db.execute(_USES.delete().where(_USES.c.used_by.in_(uses)))
    rows = [{"file_id": file_id, "used_by": by} for by, ids in uses.items() for file_id in ids]
    if rows:
        db.execute(insert(_USES), rows)


def add_use(db: Session, file_id: UUID, used_by: UUID) -> bool:
    """Note that a running task uses this file, too. Returns False where that is too late: it is being deleted."""
    kept = select(_F.c.id).where(_F.c.id == file_id, IS_VISIBLE).with_for_update(read=True, of=_F)
    if db.execute(kept).one_or_none() is None:
        return False
    use = {"file_id": file_id, "used_by": used_by}
    if db.execute(select(_USES).filter_by(**use)).one_or_none() is None:
        db.execute(insert(_USES).values(**use))
    return True


_USER = TASKS.alias("using_task")


def is_used(file_id: ColumnElement[UUID]) -> ColumnElement[bool]:
    """Return the condition that a pending or running task, or a schedule, names this file."""
    of_file = _USES.c.file_id == file_id
    by_task = exists().where(of_file, _USER.c.id == _USES.c.used_by, _USER.c.status.in_(_ACTIVE))
    by_schedule = exists().where(of_file, Schedule.id == _USES.c.used_by)
    return or_(by_task, by_schedule)


def names_files(user: ColumnElement[UUID]) -> ColumnElement[bool]:
    """Return the condition that the arguments of this task or schedule name files that are there."""
    return exists().where(_USES.c.used_by == user)


def has_used_artifact(task_id: ColumnElement[UUID]) -> ColumnElement[bool]:
    """Return the condition that a pending or running task, or a schedule, names an artifact of this task."""
    return exists().where(_F.c.task_id == task_id, IS_ARTIFACT, is_used(_F.c.id))


class LockedFile(NamedTuple):
    """What is told of a file that is deleted."""

    name: str
    user_id: UUID


def lock(db: Session, file_id: UUID, owner: UUID | None) -> LockedFile | None:
    """Lock a file, no artifact, until the commit: nothing new names it. Returns None where there is none."""
    own = [] if owner is None else [_F.c.user_id == owner]
    wanted = select(_F.c.name, _F.c.user_id).where(_F.c.id == file_id, _IS_FILE, _IS_OF_USER, *own)
    found = db.execute(wanted.with_for_update()).one_or_none()
    return None if found is None else LockedFile(*found)


def is_named(db: Session, file_id: UUID) -> bool:
    """Return whether a pending or running task, or a schedule, names this file."""
    return db.scalar(select(_F.c.id).where(_F.c.id == file_id, is_used(_F.c.id))) is not None


_READ = select(_F.c.id, _F.c.name, _F.c.size, _F.c.sha256, _F.c.content_type).where(
    _F.c.id == bindparam("p_file_id", type_=_F.c.id.type),
    IS_VISIBLE,
    _F.c.user_id
    == select(_OWNED.c.user_id).where(_OWNED.c.id == bindparam("p_task_id", type_=_F.c.id.type)).scalar_subquery(),
)


def read_for(db: Executes, file_id: UUID, task_id: UUID) -> tuple[UUID, str, int, str, str] | None:
    """Return id, name, size, SHA-256 and media type of what this task may read; None for anything else."""
    row = db.execute(_READ, {"p_file_id": file_id, "p_task_id": task_id}).one_or_none()
    return None if row is None else (row[0], row[1], row[2], row[3], row[4])


# -- What maintenance does ---------------------------------------------------------------------------------------------


def drop_what_is_over(db: Session, limit: int) -> int:
    """Drop what nobody will see: uploads that stopped, artifacts of attempts that are over, files that have expired.

    And keep the artifacts that are to stay. Returns how many rows it has changed, `limit` at most of each kind.
    """
    return (
        _drop_unowned(db, limit)
        + _drop_silent(db, limit)
        + _settle_artifacts(db, limit)
        + _drop_expired(db, limit)
    )  # fmt: skip


def is_any_over() -> ColumnElement[bool]:
    """Return the condition that `drop_what_is_over` changes any row."""
    expired = select(_F.c.id).where(_is_expired()).order_by(_F.c.expires_at)
    over = select(_F.c.id).select_from(_F).join(TASKS, TASKS.c.id == _F.c.task_id).where(*_is_over())
    return or_(*map(has_rows, (*_unowned(), _silent(), over, expired)))


def dropped(db: Session, limit: int) -> Sequence[UUID]:
    """Return contents whose bytes are to be deleted now, without those that wait for another try."""
    return list(db.scalars(to_be_deleted().order_by(_F.c.id).limit(limit)))


def to_be_deleted() -> Select[UUID]:
    """Return the SELECT of the ids of `dropped`."""
    is_due = or_(_F.c.delete_after.is_(None), _F.c.delete_after <= STATEMENT_TIME)
    return select(_F.c.id).where(_F.c.state == FileState.DROPPED.value, is_due)


def postpone(db: Session, ids: Collection[UUID]) -> None:
    """Have the bytes of these tried again later: the longer ago they were dropped, the later."""
    again = case(
        *((_F.c.touched_at > STATEMENT_TIME - since, STATEMENT_TIME + wait) for since, wait in _TRIED_AGAIN),
        else_=STATEMENT_TIME + LONGEST_WAIT,
    )
    _change(db, {"delete_after": again}, _F.c.id.in_(ids), _F.c.state == FileState.DROPPED.value)


def _drop_unowned(db: Session, limit: int) -> int:
    """Drop the files whose user or task was deleted."""
    return sum(_drop_found(db, found, limit) for found in _unowned())


def _unowned() -> list[Select[UUID]]:
    left = select(_F.c.id).where(_F.c.state != FileState.DROPPED.value)
    return [left.where(gone) for gone in (_F.c.user_id.is_(None), _F.c.task_id.is_(None) & IS_ARTIFACT)]


def _drop_silent(db: Session, limit: int) -> int:
    return _drop_found(db, _silent(), limit)


def _silent() -> Select[UUID]:
    silent = _F.c.touched_at < STATEMENT_TIME - seconds(literal(int(SILENT_AFTER.total_seconds())))
    return select(_F.c.id).where(_F.c.state == FileState.WRITING.value, ~IS_ARTIFACT, silent)


def _settle_artifacts(db: Session, limit: int) -> int:
    """Keep or drop those whose attempt is over: of one that has succeeded all stay, of a lost one none."""
    stays = case((_HAS_SUCCEEDED, True), (_F.c.state == FileState.PARTIAL.value, ~_WAS_LOST), else_=False)
    over = select(_F.c.id, _F.c.state, stays.label("stays")).join(TASKS, TASKS.c.id == _F.c.task_id)
    rows = db.execute(over.where(*_is_over()).limit(limit)).all()
    kept = [row.id for row in rows if row.stays and row.state != FileState.WRITING]
    if kept:
        _change(db, {"state": FileState.KEPT.value}, _F.c.id.in_(kept), _F.c.state.in_(_WAITING[1:]))
        _drop_superseded(db, kept)
    others = [row.id for row in rows if row.id not in set(kept)]
    if others:
        drop(db, _F.c.id.in_(others), _F.c.state.in_(_WAITING))
    return len(rows)


def _is_over() -> tuple[ColumnElement[bool], ...]:
    """Of an artifact, whose task is joined: its attempt is over, and whether it stays is not written yet."""
    runs = (TASKS.c.status == TaskStatus.RUNNING.value) & (TASKS.c.attempt == _F.c.attempt)
    return or_(*(_F.c.state == state for state in _WAITING)), IS_ARTIFACT, ~runs


def _drop_superseded(db: Session, kept: Collection[UUID]) -> None:
    """Drop what stands under the names of these artifacts, saved by earlier attempts or before, and is not needed."""
    newer = _F.alias("newer")
    is_older = or_(_F.c.attempt < newer.c.attempt, (_F.c.attempt == newer.c.attempt) & (_F.c.id < newer.c.id))
    found = (
        select(_F.c.id)
        .join(newer, (newer.c.task_id == _F.c.task_id) & (newer.c.name == _F.c.name) & is_older)
        .where(newer.c.id.in_(kept), _F.c.state == FileState.KEPT.value, ~is_used(_F.c.id))
    )
    if older := list(db.scalars(found)):
        drop(db, _F.c.id.in_(older))


def forget_uses(db: Session, limit: int) -> int:
    """Delete what is noted of tasks and schedules that are gone. Returns how many of them."""
    gone = ~exists().where(_USER.c.id == _USES.c.used_by), ~exists().where(Schedule.id == _USES.c.used_by)
    ids = list(db.scalars(select(_USES.c.used_by).where(*gone).limit(limit)))
    if ids:
        db.execute(_USES.delete().where(_USES.c.used_by.in_(ids)))
    return len(ids)


def _drop_expired(db: Session, limit: int) -> int:
    """Drop files whose days are over, unless something names them: these stay for another day."""
    ids = list(db.scalars(select(_F.c.id).where(_is_expired()).limit(limit).with_for_update(skip_locked=True)))
    if not ids:
        return 0
    named = set(db.scalars(select(_F.c.id).where(_F.c.id.in_(ids), is_used(_F.c.id))))
    if named:
        _change(db, {"expires_at": STATEMENT_TIME + timedelta(days=1)}, _F.c.id.in_(named))
    if others := set(ids) - named:
        drop(db, _F.c.id.in_(others))
    return len(ids)


def _is_expired() -> ColumnElement[bool]:
    return (_F.c.state == FileState.KEPT.value) & (_F.c.expires_at < STATEMENT_TIME)


def _drop_found(db: Session, found: Select[UUID], limit: int) -> int:
    ids = list(db.scalars(found.limit(limit)))
    return drop(db, _F.c.id.in_(ids)) if ids else 0


def _change(db: Session, values: dict[str, Any], *which: ColumnElement[bool]) -> int:
    return changed_rows(db.execute(update(_F).where(*which).values(values)))
