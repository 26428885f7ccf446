"""The places of limits, and those of QUOTA_RUNNING_TASKS: freed, repaired, and given to the tasks that wait for one.

What is done for limits has been done already, unless a process died, a task was changed while it waited, or time has
passed.
"""

import logging

from sqlalchemy import ColumnElement, exists, select
from sqlalchemy.orm import Session

from app.db.session import transaction
from app.db.sql import held_tasks, limits
from app.db.statements import user_places
from app.db.statements.limit_places import TAKEN, UNCLAIMED, of_lost_workers
from app.db.statements.reads import has_rows
from app.db.statements.tables import PLACES
from app.ddl.terms import USER_LIMIT
from app.maintenance.rounds import EACH_ROUND, Needs, Pass, Round
from app.models.limit import Limit
from app.services.operations import admission

logger = logging.getLogger(__name__)


def _free_places(db: Session, this: Round) -> None:
    """Free the places whose worker is lost, of limits and of users."""
    lost = of_lost_workers(this.silent_for)
    with transaction(db):
        # Read first: nearly always there is none, and SQLite has one writer.
        freed = admission.free_places(db, lost) if db.scalar(select(exists().where(lost, TAKEN))) else {}
    for name in freed:
        logger.warning("maintenance: places of limit %s are free, whose worker is lost", name)


def _repair_all(db: Session, _: Round) -> None:
    """Free the places that no claim will take, and have the tasks wait that have none."""
    with transaction(db):
        names = list(db.scalars(select(Limit.name).order_by(Limit.name)))
    for name in names:
        _repair(db, name)


def _repair(db: Session, name: str) -> None:
    with transaction(db):
        limit = limits.lock_limit(db, name)
        if limit is None:
            return
        limits.forget_starts(db, limit)
        limits.free_places(db, limits.without_use(name))
        lacking = held_tasks.hold_without_place(db, name)
    if lacking:
        logger.warning("maintenance: %d tasks of limit %s had no place, and wait for one", lacking, name)


def _admit_all(db: Session, _: Round) -> float | None:
    """Admit tasks to each limit for which some wait. Returns in how many seconds a rate allows the next start."""
    with transaction(db):
        waiting = held_tasks.limits_waited_for(db)
    waits = [wait for name in waiting if (wait := _admit(db, name)) is not None]
    return min(waits, default=None)


def _admit(db: Session, name: str) -> float | None:
    with transaction(db):
        limit = limits.lock_limit(db, name)
        if limit is None:
            return None
        admitting = admission.Admission(db, limit)
        admitting.take_back()
        keys = held_tasks.waiting_keys(db, name) if limit.is_by_key else []
        rooms = admitting.rooms(keys)
        admitting.admit_next([key for key in keys if rooms[key] > 0])
        return limits.seconds_until_start(db, limit)


def _there_are_limits() -> ColumnElement[bool]:
    return has_rows(select(Limit.name))


FREE_PLACES = Pass(
    "free_places_of_lost_workers",
    EACH_ROUND,
    Needs.DATABASE,
    _free_places,
    lambda: has_rows(select(PLACES.c.task_id).where(~UNCLAIMED, TAKEN)),
)
REPAIR_LIMITS = Pass("repair_limits", EACH_ROUND, Needs.DATABASE, _repair_all, _there_are_limits)
# Whenever a rate allows the next start.
ADMIT_TO_LIMITS = Pass(
    "admit_to_limits", EACH_ROUND, Needs.DATABASE, _admit_all, _there_are_limits, between_rounds=True
)


# -- The places of QUOTA_RUNNING_TASKS ---------------------------------------------------------------------------------
# The setting holds from the first pass with it: tasks from before wait for places, and are released when it is gone.

QUOTA_BATCH = 500
# In one pass.
MOST_QUOTA_BATCHES = 100


def hold_without_place(db: Session, quota: int) -> None:
    """Have the tasks wait that have no place and were made without the quota. Before others get their turns."""
    if not quota:
        return
    held = 0
    for statement in (user_places.hold_due, user_places.hold_without_place):
        for _ in range(MOST_QUOTA_BATCHES):
            with transaction(db):
                number = statement(db, QUOTA_BATCH)
            held += number
            if number < QUOTA_BATCH:
                break
    if held:
        logger.info("maintenance: %d tasks had no place of their user, and wait for one", held)


def _admit_by_user(db: Session, this: Round) -> None:
    """Free the places that nobody frees, and admit. Without a quota, release what waits for it."""
    quota = this.settings.quota_running_tasks
    with transaction(db):
        is_used = quota > 0 or db.scalar(select(user_places.are_used()))
    if not is_used:
        return
    if not quota:
        _release_held(db)
    with transaction(db):
        users = user_places.users_at_hand(db)
    for batch in admission.batches_of_users(users):
        with transaction(db):
            user_places.lock_users(db, batch)
            limits.free_places(db, limits.without_use(USER_LIMIT, batch))
            if quota:
                admitting = admission.user_admission(db, quota)
                full = [user for user, room in admitting.rooms(batch).items() if room <= 0]
                if full:
                    admitting.take_back(full)
                admitting.admit_by_key(batch)


def _release_held(db: Session) -> None:
    for _ in range(MOST_QUOTA_BATCHES):
        with transaction(db):
            number = user_places.release_held(db, QUOTA_BATCH)
        if number:
            logger.info("maintenance: %d tasks wait for no place of their user any more", number)
        if number < QUOTA_BATCH:
            break


ADMIT_BY_USER = Pass("admit_by_user", EACH_ROUND, Needs.DATABASE, _admit_by_user, user_places.are_used)
