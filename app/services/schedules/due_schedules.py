"""Fires schedules that are due: their tasks, what became of each time, their own rows, and webhooks of skips.

First the schedules are read, and their times computed, without a transaction: that may take long. Then one transaction
locks those that nobody else has locked and that have not changed since, and writes all of it. So whatever is killed and
however many processes do this, each time is dealt with once: the schedule's `done_until`, its task and the row of
`schedule_runs` are committed together.

Tasks are made together where that can be, and each refusal alone. Receivers of webhooks are told of skipped times
(`schedule.skipped`) in the transaction that skips them. Once the time zones are of another version, `rezone` computes
the next times anew.
"""

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import chain
from time import monotonic
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.catalogue import catalogue
from app.core.fair_order import by_turns
from app.core.origin import Actor
from app.db.session import transaction
from app.db.statements import schedules as statements
from app.db.together import together
from app.errors import LimitReached, PriorityNotAllowed, QuotaExceeded, ServiceError, UniqueKeyTaken
from app.models.audit import AuditEvent
from app.models.schedule import RunKind, Schedule, ScheduleEvent, SkipCode
from app.models.user import User
from app.models.webhook import EventType
from app.schedules import zones
from app.schedules.policies import CatchUp, CaughtUp, Decision, Overlap, Window, catch_up, decide
from app.schedules.times import Span
from app.schedules.zones import InvalidTiming
from app.services import audit
from app.services.accounts.users import Rights
from app.services.audit import Subject
from app.services.schedules import runs
from app.services.schedules.runs import Run
from app.services.schedules.scheduled_tasks import first_after, is_made_alone, next_columns, now_of, row_for, timing_of
from app.services.tasks import task_changes, task_creation, task_queries
from app.services.tasks.new_rows import Created, NewTask
from app.services.tasks.permissions import check_may_create
from app.services.tasks.quotas import quotas
from app.services.webhooks import new_deliveries
from app.services.webhooks.new_deliveries import Event

logger = logging.getLogger(__name__)

# -- The tasks of due times: made together where that can be, each refusal alone ---------------------------------------

Made = Created | ServiceError

_SKIP_CODES: tuple[tuple[type[ServiceError], SkipCode], ...] = (
    (QuotaExceeded, SkipCode.QUOTA),
    (UniqueKeyTaken, SkipCode.UNIQUE_KEY_TAKEN),
    (LimitReached, SkipCode.LIMIT_REACHED),
    (PriorityNotAllowed, SkipCode.PRIORITY_NOT_ALLOWED),
)


def skip_code_of(error: ServiceError) -> SkipCode:
    """Return the code of a time whose task was refused so."""
    return next((code for kind, code in _SKIP_CODES if isinstance(error, kind)), SkipCode.INVALID_ARGUMENTS)


def make_tasks(db: Session, rows: Sequence[NewTask]) -> list[Made]:
    """Create these tasks, each of them or the error that refuses it, within the quotas of their users.

    What has a `unique_key`, a limit or a file is created alone, as it may be refused for a reason of its own.
    """
    exhausted: dict[UUID, QuotaExceeded] = {}

    def make(part: Sequence[NewTask]) -> list[Made]:
        """Once a quota has refused one task of a user, it refuses the others: else each would be tried."""
        created = iter(_create(db, [row for row in part if row.user_id not in exhausted]))
        return [exhausted.get(row.user_id) or next(created) for row in part]

    def refuse(row: NewTask, error: Exception) -> list[Made]:
        if not isinstance(error, ServiceError):
            raise error
        if isinstance(error, QuotaExceeded):
            exhausted[row.user_id] = error
        return [error]

    groups = [[row for row in rows if not _is_apart(row)], *([row] for row in rows if _is_apart(row))]
    parts = [part for group in groups for part in together("tasks of schedules", group, make, refuse)]
    made = dict(zip([row.id for group in groups for row in group], chain.from_iterable(parts), strict=True))
    return [made[row.id] for row in rows]


def _is_apart(row: NewTask) -> bool:
    return row.unique_key is not None or row.limit is not None or bool(row.files)


def _create(db: Session, rows: Sequence[NewTask]) -> Sequence[Created]:
    if not any(map(_is_apart, rows)):
        return task_creation.create_plain(db, rows) if rows else ()
    with task_creation.creating(db, rows, commit=False, within_quota=True, permitted=True) as created:
        return created


# -- Schedules are fired: read, looked at, and then written in one transaction -----------------------------------------

# Schedules whose tasks are made one by one, in one transaction.
MOST_ALONE = 100
# What was computed in so many seconds is written, in one transaction: the round has other duties, and the lease ends.
LOOK_SECONDS = 0.2
# Of the requests of the tasks that one transaction makes: the server ends one that lets it wait for a statement.
TASK_BYTES = 8 * 1024 * 1024


class Owner(NamedTuple):
    """What is to be known of the user of the schedules."""

    id: UUID
    username: str
    is_active: bool
    role: str
    max_priority: str
    followers: int | None


@dataclass
class Look:
    """A schedule as it was read, what becomes of its times, and the first one that is still to come."""

    schedule: Schedule
    caught_up: CaughtUp
    next_run_at: datetime | None
    decision: Decision = field(default_factory=Decision)
    runs: list[Run] = field(default_factory=list)

    @property
    def made(self) -> list[Run]:
        return [run for run in self.runs if run.task_id is not None]

    @property
    def rows(self) -> int:
        """How many rows of times it takes, and one for the schedule without any."""
        return max(len(self.runs), 1)


def fire(db: Session, ids: Sequence[UUID], most: int) -> list[Look]:
    """Fire these schedules, with `most` tasks of each user at most. Returns what it has written.

    Users take turns in the order of the ids. Schedules that another process has locked, or that were changed meanwhile,
    are left to the next look, as are those that LOOK_SECONDS or TASK_BYTES do not suffice for.
    """
    catalogue()  # imports every task, for which no transaction may wait
    with transaction(db):
        now = now_of(db)
        found, done = statements.read(db, ids)
    looks: list[Look] = []
    wanted, alone, size = Counter[UUID](), Counter[UUID](), 0
    until = monotonic() + LOOK_SECONDS
    for schedule in _in_order(found, ids):
        user_id = schedule.user_id
        # One task at least, however large.
        room = (TASK_BYTES - size) // _bytes(schedule) or int(not looks)
        if room <= 0 or (looks and monotonic() >= until):
            break
        alone[user_id] += is_made_alone(schedule)
        if wanted[user_id] >= most or alone[user_id] > MOST_ALONE:
            continue
        try:
            looks.append(_look(schedule, now, done.get(schedule.id, set()), min(room, most - wanted[user_id])))
        except InvalidTiming as error:
            pause_broken(db, schedule, error)
            continue
        wanted[user_id] += len(looks[-1].caught_up.run)
        size += len(looks[-1].caught_up.run) * _bytes(schedule)
    written: list[Look] = []
    for group in _groups(looks, alone):
        with transaction(db):
            written += _fire(db, group, now)
    for look in written:
        before = look.schedule.runs + look.schedule.skipped
        if runs.is_to_trim(before, before + sum(run.times for run in look.runs)):
            runs.trim_runs(db, look.schedule.id)
    return written


def _in_order(found: Sequence[Schedule], ids: Sequence[UUID]) -> list[Schedule]:
    """By turns of users in the order of the ids, of each first what has the least to catch up: it is on time yet."""
    places = {schedule_id: place for place, schedule_id in enumerate(ids)}
    first: dict[UUID, int] = {}
    for each in sorted(found, key=lambda each: places[each.id]):
        first.setdefault(each.user_id, places[each.id])
    latest_first = sorted(found, key=lambda each: each.done_until, reverse=True)
    return by_turns(sorted(latest_first, key=lambda each: first[each.user_id]), lambda each: each.user_id)


def _groups(looks: Sequence[Look], alone: Counter[UUID]) -> list[list[Look]]:
    """Return those that share a transaction: of all users, but for users whose tasks may have to wait for locks."""
    groups: dict[UUID | None, list[Look]] = {}
    for look in looks:
        user_id = look.schedule.user_id
        groups.setdefault(user_id if alone[user_id] else None, []).append(look)
    return [*groups.values()]


def _bytes(schedule: Any) -> int:
    """As `statements.read` has read it."""
    size: int = schedule.bytes
    return size


def pause_broken(db: Session, schedule: Schedule, error: InvalidTiming) -> None:
    """Pause a schedule whose timing does not work any more, and say why: its zone is gone."""
    reason = f"{error.field}: {error.message}"
    logger.warning("schedule %s is paused: %s", schedule.id, reason)
    with transaction(db):
        unchanged = statements.lock(db, [schedule.id]).get(schedule.id)
        if unchanged is not None and unchanged.version == schedule.version:
            values = {"paused": True, "pause_reason": reason, "next_run_at": None, "due_at": None}
            statements.write(db, schedule.id, **values, version=schedule.version + 1, tzdata=zones.tzdata_version())
            audit.record_schedule(db, ScheduleEvent.PAUSED, schedule, reason=reason)


def _look(schedule: Schedule, now: datetime, done: set[datetime], most: int) -> Look:
    """Raises InvalidTiming."""
    zones.zone_info(schedule.timezone)
    timing = timing_of(schedule)
    window = Window(schedule.done_until, max(now, schedule.done_until), schedule.resumed_at)
    within = timedelta(seconds=schedule.catch_up_seconds)
    found = catch_up(timing, window, CatchUp(schedule.catch_up), within, done, most)
    due = found.due_at
    return Look(schedule, found, due if due is None or due > now else first_after(timing, now))


def _fire(db: Session, looks: Sequence[Look], now: datetime) -> list[Look]:
    """Write what becomes of these schedules. Returns those that could be locked, together with their users."""
    # Before the schedules: who deletes the user locks that row first.
    owners = _lock_owners(db, {look.schedule.user_id for look in looks})
    locked = statements.lock(db, [look.schedule.id for look in looks if look.schedule.user_id in owners])
    looks = [look for look in looks if _is_unchanged(look.schedule, locked.get(look.schedule.id))]
    if not looks:
        return []
    active = [look for look in looks if owners[look.schedule.user_id].is_active]
    _decide(db, active, owners)
    _make(db, active, owners)
    for look in looks:
        if not owners[look.schedule.user_id].is_active:
            times = [*([look.schedule.held_for] if look.schedule.held_for else []), *look.caught_up.run]
            look.runs += [Run(look.schedule, time, skipped=SkipCode.INACTIVE_USER) for time in times]
    for look in looks:
        if (missed := look.caught_up.missed) is not None:
            look.runs.insert(0, _missed(look.schedule, missed))
    every = [run for look in looks for run in look.runs]
    runs.record_runs(db, every)
    _write(db, looks, now)
    for user_id in owners:
        tell_skips(db, [run for run in every if run.schedule.user_id == user_id], now)
    return list(looks)


def _missed(schedule: Schedule, missed: Span) -> Run:
    count, until = (None, None) if missed.count == 1 else (missed.count, missed.last)
    return Run(schedule, missed.first, None, SkipCode.MISSED, count, until, RunKind.MISSED)


def _lock_owners(db: Session, ids: Collection[UUID]) -> dict[UUID, Owner]:
    """Have these users not deleted until the commit. Without those that another transaction changes or deletes now.

    An import of many schedules may: no other user's wait for it.
    """
    columns = (User.id, User.username, User.is_active, User.role, User.max_priority, User.followers)
    found = select(*columns).where(User.id.in_(ids)).order_by(User.id)
    rows = db.execute(found.with_for_update(read=True, key_share=True, skip_locked=True))
    return {row.id: Owner(*row) for row in rows}


def _is_unchanged(schedule: Schedule, locked: statements.Locked | None) -> bool:
    return locked == (schedule.version, schedule.done_until, schedule.held_for)


def _decide(db: Session, looks: Iterable[Look], owners: Mapping[UUID, Owner]) -> None:
    """Decide what overlaps, and ask to stop what is to make room."""
    watched = [look.schedule.id for look in looks if look.schedule.overlap != Overlap.ALLOW]
    active = statements.active_tasks(db, watched) if watched else {}
    for look in looks:
        schedule, its = look.schedule, active.get(look.schedule.id, [])
        look.decision = decide(
            look.caught_up.run, Overlap(schedule.overlap), is_active=bool(its), held=schedule.held_for
        )
        look.runs += [Run(schedule, time, skipped=SkipCode.OVERLAP) for time in look.decision.overlapping]
        for task_id in its if look.decision.cancel else ():
            owner = owners[schedule.user_id]
            _cancel(db, task_id, schedule.id, Actor(owner.id, owner.username))


def _cancel(db: Session, task_id: UUID, schedule_id: UUID, owner: Actor) -> None:
    task = task_queries.find(db, task_id)
    if task is not None and (task_changes.revoke_pending(db, task_id) or task_changes.request_cancel(db, task_id)):
        told = {"owner": str(task.user_id), "celery_task_name": task.celery_task_name, "was": task.status.value}
        subject = Subject("task", str(task_id))
        audit.record(db, AuditEvent.TASK_CANCELLED, subject, actor=owner, **told, by_schedule=str(schedule_id))


def _make(db: Session, looks: Sequence[Look], owners: Mapping[UUID, Owner]) -> None:
    """Make the tasks that are decided for, those of all schedules together where that can be."""
    wanted: list[tuple[Look, datetime]] = []
    rows: list[NewTask] = []
    for look in looks:
        user = owners[look.schedule.user_id]
        for time in look.decision.run:
            try:
                row = row_for(look.schedule, time).followed(user.followers)
                check_may_create([row.wanted], Rights(user.id, user.role, user.max_priority))
            except ServiceError as error:
                look.runs.append(Run(look.schedule, time, skipped=skip_code_of(error)))
                continue
            wanted.append((look, time))
            rows.append(row)
    for (look, time), made in zip(wanted, make_tasks(db, rows), strict=True):
        look.runs.append(_run(look.schedule, time, made))


def _run(schedule: Schedule, time: datetime, made: Made) -> Run:
    if isinstance(made, ServiceError):
        return Run(schedule, time, skipped=skip_code_of(made))
    return Run(schedule, time, made.id, is_open=made.is_new)


def _write(db: Session, looks: Iterable[Look], now: datetime) -> None:
    """Write the schedules' rows: together those that have made one task and are done with all times until now."""
    fired: dict[UUID, datetime] = {}
    for look in looks:
        schedule, made = look.schedule, look.made
        task_id = made[-1].task_id if made else None
        holds = look.decision.held or schedule.held_for
        plain = len(look.runs) == len(made) == 1 and look.caught_up.done_until == now and not holds
        if plain and task_id and look.next_run_at and look.caught_up.due_at == look.next_run_at:
            fired[schedule.id] = look.next_run_at
            continue
        last = {} if task_id is None else {"last_run_at": now, "last_task_id": task_id}
        skipped = sum(run.times for run in look.runs if run.skipped is not None)
        statements.write(
            db,
            schedule.id,
            done_until=look.caught_up.done_until,
            held_for=look.decision.held,
            due_at=look.caught_up.due_at,
            next_run_at=look.next_run_at,
            runs=schedule.runs + len(made),
            skipped=schedule.skipped + skipped,
            **last,
        )
    statements.write_fired(db, fired, now)


# -- Webhooks of skipped times (`schedule.skipped`) --------------------------------------------------------------------

# Of one schedule: what is skipped each second would else be an event a second, with a row for each endpoint.
TELL_EVERY = timedelta(minutes=1)


def tell_skips(db: Session, runs: Sequence[Run], now: datetime) -> None:
    """Record one event for each schedule of which some of these times, all of one user, were skipped.

    None of a schedule that had one within TELL_EVERY, and none while the user keeps more than the quota allows:
    deliveries count there, and no call deletes them.
    """
    skipped = {run.schedule.id: run.schedule for run in runs if run.skipped is not None}
    events = [_skip_event_of(each) for each in skipped.values() if _is_to_tell(each, now)]
    if not events:
        return
    user_id = runs[0].schedule.user_id
    endpoints = new_deliveries.find_endpoints(db, user_id, EventType.SCHEDULE_SKIPPED)
    if not endpoints or quotas.keeps_too_much(db, user_id):
        return
    told = new_deliveries.record_events(db, user_id, EventType.SCHEDULE_SKIPPED, endpoints, events)
    statements.write_told(db, [event.schedule_id for event in told], now)


def _is_to_tell(schedule: Schedule, now: datetime) -> bool:
    """Also where the clock was put back."""
    return schedule.skip_told_at is None or not schedule.skip_told_at <= now < schedule.skip_told_at + TELL_EVERY


def _skip_event_of(schedule: Schedule) -> Event:
    return Event(
        schedule.id,
        schedule.task.get("task_type"),
        schedule.celery_task_name,
        {*schedule.tags, *schedule.task.get("tags", ())},
    )


# -- The next times, computed anew for another version of the time zones -----------------------------------------------

REZONE_BATCH = 200


def rezone(db: Session, version: str) -> int:
    """Compute the next time of some schedules for which another version of the zones was used. Returns how many."""
    with transaction(db):
        now = now_of(db)
        ids = statements.with_other_zones(db, version, REZONE_BATCH)
        found = db.scalars(select(Schedule).where(Schedule.id.in_(ids)).execution_options(populate_existing=True)).all()
    columns = {}
    for schedule in found:
        try:
            zones.zone_info(schedule.timezone)
            columns[schedule.id] = next_columns(schedule, timing_of(schedule), now)
        except InvalidTiming as error:
            if not schedule.paused:
                pause_broken(db, schedule, error)
            else:  # it says so when it is resumed
                columns[schedule.id] = {"tzdata": version}
    with transaction(db):
        locked = statements.lock(db, [schedule.id for schedule in found], paused_too=True)
        for schedule in found:
            unchanged = locked.get(schedule.id)
            if schedule.id in columns and unchanged == (schedule.version, schedule.done_until, schedule.held_for):
                statements.write(db, schedule.id, **columns[schedule.id])
    return len(found)
