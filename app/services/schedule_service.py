"""Schedules: create, read, change, pause, trigger, backfill. Maintenance fires them.

Each method is one transaction; with `commit=False` the caller commits. `owner` limits a call to one user's schedules:
another user's raises ScheduleNotFound, like one that does not exist. `within_quota`, which the API sets, has the quotas
hold.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from app.core.config import get_settings
from app.db.listing import Page
from app.db.session import transaction
from app.db.statements import accounts, schedules as statements
from app.db.statements.reads import find_owned
from app.db.transactions import retries_deadlocks
from app.errors import (
    IdempotentScheduleDeleted,
    InvalidArguments,
    ScheduleNotFound,
    Text,
    TooManySchedules,
    UnknownLimit,
    UserNotFound,
)
from app.models.schedule import RunKind, Schedule, ScheduleEvent
from app.models.task import Task
from app.schemas.schedule import BackfillRequest, ScheduleCreate
from app.services.accounts.users import Rights, priority_and_followers
from app.services.audit import record_schedule
from app.services.schedules import backfills, definitions, listing, runs, scheduled_tasks
from app.services.schedules.listing import ScheduleFilter
from app.services.schedules.runs import Run, RunState
from app.services.tasks import limited_tasks, task_creation, task_dependencies
from app.services.tasks.idempotency import Accepted, Take, once
from app.services.tasks.new_rows import NewTask
from app.services.tasks.permissions import check_may_create, check_priorities


class NextTime(NamedTuple):
    """A time to come, and when its task starts."""

    scheduled_for: datetime
    run_at: datetime


class ScheduleService:
    """The operations of schedules. Stateless: `schedule_service` is the shared instance."""

    def create_schedule(
        self, db: Session, *, user_id: UUID, commit: bool = True, within_quota: bool = False, **fields: Any
    ) -> Schedule:
        """Make a schedule; `fields` as in ScheduleCreate: `name`, `task`, `cron` or `every_seconds`, and so on.

        Raises InvalidSchedule, InvalidTask, UnknownTask, InvalidArguments, UnknownLimit, WebhooksOff,
        PriorityNotAllowed, UserNotFound; with `within_quota` TooManySchedules.
        """
        wanted: ScheduleCreate = definitions.parse_fields(ScheduleCreate, fields)
        return self.accept(db, wanted, user_id, rights=None, commit=commit, within_quota=within_quota).result

    @retries_deadlocks
    def accept(
        self, db: Session, wanted: ScheduleCreate, user_id: UUID, key: str | None = None, *, rights: Rights | None,
        commit: bool = True, within_quota: bool = True,
    ) -> Accepted[Schedule]:  # fmt: skip
        """Make the schedule of a request, once for this idempotency key. `rights`: the caller's, None for code.

        Raises TaskNotAllowed, InsufficientScope, IdempotencyKeyReused, IdempotencyKeyInFlight,
        IdempotentScheduleDeleted besides.
        """
        if rights is not None:
            check_may_create([wanted.task], rights)
        most = get_settings().quota_schedules

        def make(take: Take) -> Accepted[Schedule]:
            with transaction(db, commit=commit):
                now = scheduled_tasks.now_of(db)
            schedule = definitions.new_schedule(wanted, user_id, now)
            row = scheduled_tasks.check_request(schedule.task, user_id, schedule.id, now)
            with transaction(db, commit=commit):
                if within_quota:
                    _check_number(db, user_id, most)
                if priority_and_followers(db, user_id) is None:
                    raise UserNotFound
                _check_task(db, row, schedule.id)
                db.add(schedule)
                db.flush()
                take([schedule.id])
                record_schedule(db, ScheduleEvent.CREATED, schedule)
            return Accepted(schedule)

        def find(ids: Sequence[UUID]) -> Schedule | None:
            return db.get(Schedule, ids[0], populate_existing=True)

        return once(db, user_id, key, wanted, make=make, find=find, gone=IdempotentScheduleDeleted)

    # Read

    def get_schedule(self, db: Session, schedule_id: UUID, *, owner: UUID | None = None) -> Schedule:
        """Return the committed schedule. Raises ScheduleNotFound."""
        return _find(db, schedule_id, owner)

    def list_schedules(
        self, db: Session, wanted: ScheduleFilter | None = None, limit: int = 50, *, cursor: str | None = None
    ) -> Page[Schedule]:
        """Return a page of schedules, the newest first; without a filter those of all users. Raises InvalidCursor.

        It ends at MAX_PAGE_BYTES, with one schedule at least.
        """
        return listing.SCHEDULES.page(db, limit, cursor, *(wanted or ScheduleFilter()).conditions())

    def next_times(
        self, db: Session, schedule_id: UUID, count: int = 10, *, owner: UUID | None = None
    ) -> list[NextTime]:
        """Return its next times, also of one that is paused. Raises ScheduleNotFound, InvalidSchedule for a zone gone.

        Times that are skipped then are among them.
        """
        schedule = self.get_schedule(db, schedule_id, owner=owner)
        after = max(scheduled_tasks.now_of(db), schedule.done_until)
        scheduled_tasks.check_timing(schedule)
        return [
            NextTime(time, scheduled_tasks.start_of(schedule.id, time, schedule.jitter_seconds))
            for time in scheduled_tasks.timing_of(schedule).after(after, count)
        ]

    def runs(
        self, db: Session, schedule_id: UUID, limit: int = 50, *, owner: UUID | None = None, cursor: str | None = None
    ) -> Page[RunState]:
        """Return a page of what became of its times, the last one first. Raises ScheduleNotFound, InvalidCursor."""
        schedule = self.get_schedule(db, schedule_id, owner=owner)
        return runs.page(db, schedule.id, limit, cursor)

    # Change

    @retries_deadlocks
    def update_schedule(
        self, db: Session, schedule_id: UUID, changes: dict[str, Any], *, owner: UUID | None = None,
        commit: bool = True, rights: Rights | None = None, owns: Callable[[UUID], bool] | None = None,
    ) -> Schedule:  # fmt: skip
        """Change the fields that PATCH may change (SchedulePatch). A changed timing counts from now.

        A changed task is checked against the caller's `rights`. `owns` is called with the owner's id: where it returns
        False, a `***` keeps its secret only beside arguments that are otherwise unchanged. Raises TaskNotAllowed,
        PriorityNotAllowed, InsufficientScope, ScheduleNotFound, InvalidSchedule, InvalidTask, UnknownTask,
        InvalidArguments, UnknownLimit, WebhooksOff.
        """
        with transaction(db, commit=commit):
            schedule, now = _find(db, schedule_id, owner, lock=True), scheduled_tasks.now_of(db)
            was_paused = schedule.paused
            by_owner = owns is None or owns(schedule.user_id)
            changed = definitions.changed_schedule(schedule, changes, now, by_owner=by_owner)
            if "task" in changes:
                row = scheduled_tasks.check_request(changed.task, schedule.user_id, schedule.id, now)
                if rights is not None:
                    check_may_create([row.wanted], rights)
                _check_task(db, row, schedule.id)
            if changed.done_until < schedule.done_until:  # the clock was ahead
                changed.skipped -= runs.take_back(db, schedule.id, changed.done_until)
            definitions.write(schedule, changed)
            db.flush()
            if fields := sorted(changes.keys() - {"paused"}):
                record_schedule(db, ScheduleEvent.UPDATED, schedule, fields=fields)
            if was_paused != schedule.paused:
                record_schedule(db, ScheduleEvent.PAUSED if schedule.paused else ScheduleEvent.RESUMED, schedule)
        return schedule

    @retries_deadlocks
    def pause(
        self, db: Session, schedule_id: UUID, *, owner: UUID | None = None, commit: bool = True
    ) -> Schedule:  # fmt: skip
        """Have it fire no more, until it is resumed. Raises ScheduleNotFound."""
        return self._set_paused(db, schedule_id, owner, commit, paused=True)

    @retries_deadlocks
    def resume(
        self, db: Session, schedule_id: UUID, *, owner: UUID | None = None, commit: bool = True
    ) -> Schedule:  # fmt: skip
        """Have it fire again. The times of the pause count as missed: `catch_up` decides.

        Raises ScheduleNotFound, and InvalidSchedule where its zone is gone.
        """
        return self._set_paused(db, schedule_id, owner, commit, paused=False)

    @retries_deadlocks
    def delete_schedule(
        self, db: Session, schedule_id: UUID, *, owner: UUID | None = None, commit: bool = True
    ) -> None:  # fmt: skip
        """Delete it. Its tasks stay. Raises ScheduleNotFound."""
        with transaction(db, commit=commit):
            schedule = _find(db, schedule_id, owner, lock=True)
            db.execute(delete(Schedule).where(Schedule.id == schedule.id).execution_options(synchronize_session=False))
            db.expunge(schedule)
            record_schedule(db, ScheduleEvent.DELETED, schedule)

    # Make tasks

    @retries_deadlocks
    def trigger(
        self, db: Session, schedule_id: UUID, *, owner: UUID | None = None, commit: bool = True,
        within_quota: bool = False, rights: Rights | None = None,
    ) -> tuple[Task, bool]:  # fmt: skip
        """Make its task now, also while it is paused. Neither obeys `overlap` nor counts for it.

        Returns it, and whether it is new: not if another task has the `unique_key`, and `on_conflict` allows it.
        Raises ScheduleNotFound, and as `create_task` does; with `rights`, those of the caller, TaskNotAllowed and
        InsufficientScope; with `within_quota` also QuotaExceeded.
        """
        with transaction(db, commit=commit):
            known = _find(db, schedule_id, owner)
        row = scheduled_tasks.row_for(known, scheduled_tasks.now_of(db), jittered=False)
        with transaction(db, commit=commit):
            schedule = _find(db, known.id, owner, lock=True)
            time = runs.next_trigger(db, schedule.id, scheduled_tasks.now_of(db))
            row = scheduled_tasks.row_for(schedule, time, jittered=False)
            if rights is not None:
                check_may_create([row.wanted], rights)
            with task_creation.creating(db, [row], commit=False, within_quota=within_quota) as created:
                (task,) = task_creation.as_tasks(db, created)
            runs.record(db, [Run(schedule, time, task.id, kind=RunKind.TRIGGER)])
            _count(db, schedule, task.id, 1, time)
            times = schedule.runs + schedule.skipped
            if runs.is_to_trim(times, times + 1):
                statements.trim_runs(db, schedule.id, runs.KEPT)
            record_schedule(db, ScheduleEvent.TRIGGERED, schedule, task=str(task.id))
        return task, created[0].is_new

    def preview_backfill(
        self, db: Session, schedule_id: UUID, begin: datetime, end: datetime, *, owner: UUID | None = None
    ) -> list[datetime]:
        """Return the times for which `backfill` would make tasks.

        Raises ScheduleNotFound, TooManyTimes, and InvalidSchedule for a range that is none, or has no offsets.
        """
        schedule = self.get_schedule(db, schedule_id, owner=owner)
        return _times(db, schedule, begin, end)

    @retries_deadlocks
    def backfill(
        self, db: Session, schedule_id: UUID, begin: datetime, end: datetime, *, owner: UUID | None = None,
        commit: bool = True, within_quota: bool = False, rights: Rights | None = None,
    ) -> list[UUID]:  # fmt: skip
        """Make the tasks of all its times from `begin` to `end` that have none, at most until now. All or none.

        Works while it is paused; neither obeys `overlap` nor counts for it. Returns their ids, the earliest time first.
        Raises ScheduleNotFound, TooManyTimes, InvalidSchedule, and as `create_tasks` does.
        """
        with transaction(db, commit=commit):
            known = _find(db, schedule_id, owner)
            times = _times(db, known, begin, end)
        with transaction(db, commit=commit):
            schedule = _find(db, known.id, owner, lock=True)
            if schedule.version != known.version:
                times = _times(db, schedule, begin, end)
            times = backfills.still_without_task(db, schedule, times)
            ids = backfills.make(db, schedule, times, within_quota=within_quota, rights=rights)
            if ids:
                now = scheduled_tasks.now_of(db)
                held = None if schedule.held_for in times else schedule.held_for
                _count(db, schedule, ids[-1], len(ids), now, version=schedule.version + 1, held_for=held)
                statements.trim_runs(db, schedule.id, runs.KEPT)
            told = {"from": scheduled_tasks.time_text(begin), "to": scheduled_tasks.time_text(end)}
            record_schedule(db, ScheduleEvent.BACKFILLED, schedule, count=len(ids), **told)
        return ids

    def _set_paused(
        self, db: Session, schedule_id: UUID, owner: UUID | None, commit: bool, *, paused: bool
    ) -> Schedule:
        with transaction(db, commit=commit):
            schedule = _find(db, schedule_id, owner, lock=True)
            if schedule.paused == paused and schedule.pause_reason is None:
                return schedule
            now = scheduled_tasks.now_of(db)
            definitions.set_paused(schedule, now, paused=paused)
            schedule.version += 1
            schedule.updated_at = now
            db.flush()
            record_schedule(db, ScheduleEvent.PAUSED if paused else ScheduleEvent.RESUMED, schedule)
        return schedule


def _find(db: Session, schedule_id: UUID, owner: UUID | None, *, lock: bool = False) -> Schedule:
    """Return the schedule as it is committed. Raises ScheduleNotFound."""
    return find_owned(db, Schedule, schedule_id, owner, ScheduleNotFound, lock=lock)


def _times(db: Session, schedule: Schedule, begin: datetime, end: datetime) -> list[datetime]:
    """Return the nominal times of the range that have no task and are not to come.

    Raises TooManyTimes, InvalidSchedule.
    """
    wanted: BackfillRequest = definitions.parse_fields(BackfillRequest, {"from": begin, "to": end})
    scheduled_tasks.check_timing(schedule)
    until = min(wanted.to, scheduled_tasks.now_of(db))
    return backfills.times_without_task(db, schedule, scheduled_tasks.timing_of(schedule), wanted.from_, until)


def _check_number(db: Session, user_id: UUID, most: int) -> None:
    """Raise TooManySchedules. Has no other schedule of an active user be counted until the transaction ends."""
    if not most:
        return
    accounts.lock_owner(db, user_id)
    if db.scalars(select(func.count()).where(Schedule.user_id == user_id)).one() >= most:
        raise TooManySchedules(Text("{} schedules", most))


def _check_task(db: Session, row: NewTask, schedule_id: UUID) -> None:
    """Check what of a request the database knows, and keep the files that the arguments name.

    Raises PriorityNotAllowed, UnknownLimit, InvalidArguments.
    """
    check_priorities(db, [row.wanted], row.user_id)
    try:
        task_dependencies.find_files(db, [row]).link(db, [(schedule_id, row.files)], changed=True)
    except InvalidArguments as error:
        raise error.below("task") from None
    if row.limit is not None:
        try:
            limited_tasks.keep_limit(db, row.limit)
        except UnknownLimit as error:
            raise error.below("task") from None


def _count(db: Session, schedule: Schedule, task_id: UUID, number: int, now: datetime, **columns: Any) -> None:
    values = {"runs": schedule.runs + number, "last_task_id": task_id, "last_run_at": now, **columns}
    statements.write(db, schedule.id, **values)


schedule_service = ScheduleService()
