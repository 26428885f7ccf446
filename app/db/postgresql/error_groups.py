"""Adding failures to their groups, and what of the groups needs PostgreSQL."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import case, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.db.base import Base
from app.db.clock import STATEMENT_TIME
from app.db.postgresql.batches import delete_batch
from app.db.rows import changed_rows
from app.models.error_group import ErrorGroup, ErrorState, error_times
from app.models.user import User

_GROUPS = Base.metadata.tables[ErrorGroup.__tablename__]
_NEW = insert(_GROUPS)
_KEY = [_GROUPS.c.fingerprint]
_ADDED = {"count": _GROUPS.c.count + _NEW.excluded.count}
_REOPENS = (_GROUPS.c.state == ErrorState.RESOLVED) & (
    func.coalesce(_GROUPS.c.state_set_at, _GROUPS.c.last_seen) < _NEW.excluded.last_seen
)
_SEEN = {
    "first_seen": func.least(_GROUPS.c.first_seen, _NEW.excluded.first_seen),
    "last_seen": func.greatest(_GROUPS.c.last_seen, _NEW.excluded.last_seen),
    "message": _NEW.excluded.message,
    "state": case((_REOPENS, ErrorState.OPEN.value), else_=_GROUPS.c.state),
}
_FAILURES = _NEW.on_conflict_do_update(index_elements=_KEY, set_={**_ADDED, **_SEEN})
_MOVES = _NEW.on_conflict_do_update(index_elements=_KEY, set_=_ADDED)
_NEW_TIMES = insert(error_times)
_TIMES = _NEW_TIMES.on_conflict_do_update(
    index_elements=list(error_times.primary_key.columns),
    set_={"number": error_times.c.number + _NEW_TIMES.excluded.number},
)


def keep_users(db: Session, users: Sequence[UUID]) -> set[UUID]:
    """Those of the users that exist. None of them can be deleted until the commit."""
    found = select(User.id).where(User.id.in_(users)).order_by(User.id)
    return set(db.scalars(found.with_for_update(read=True, key_share=True)))


def add_failures(db: Session, rows: Sequence[dict[str, Any]]) -> None:
    """Make or raise the groups of these failures, and reopen resolved ones. Each row has the group's columns.

    In one order for all callers, so that two at once do not deadlock.
    """
    if rows:
        db.execute(_FAILURES, rows)


def add_moves(db: Session, rows: Sequence[dict[str, Any]]) -> None:
    """Add numbers alone: of tasks that are failed no more. The rows and their order are as for `add_failures`."""
    if rows:
        db.execute(_MOVES, rows)


def add_times(db: Session, rows: Sequence[dict[str, Any]]) -> None:
    """Add failures to their hours: `fingerprint`, `at`, `number`. Ordered as well."""
    if rows:
        db.execute(_TIMES, rows)


_NEWEST = text("""
SELECT wanted.fingerprint, newest.id FROM unnest(CAST(:fingerprints AS text[])) AS wanted (fingerprint), LATERAL (
    SELECT id FROM tasks WHERE error_fingerprint = wanted.fingerprint ORDER BY id DESC LIMIT :each
) AS newest ORDER BY newest.id DESC
""")


def newest_tasks(db: Session, fingerprints: Sequence[str], each: int) -> dict[str, list[UUID]]:
    """The ids of the newest tasks that are failed with each of these, at most `each`."""
    found: dict[str, list[UUID]] = {fingerprint: [] for fingerprint in fingerprints}
    for fingerprint, task_id in db.execute(_NEWEST, {"fingerprints": list(fingerprints), "each": each}):
        found[fingerprint].append(task_id)
    return found


_BEYOND = text("""
DELETE FROM error_groups WHERE count = 0 AND fingerprint IN (
    SELECT fingerprint FROM (
        SELECT fingerprint, row_number() OVER (PARTITION BY user_id ORDER BY last_seen DESC) AS place
        FROM error_groups WHERE count = 0
    ) AS of_user WHERE place > :most ORDER BY place DESC LIMIT :batch
)
""")


def forget(db: Session, age: timedelta, most: int, batch: int) -> int:
    """Delete a batch of the groups without a failed task: last seen so long ago, or older than `most` of their user.

    Returns how many.
    """
    unused = ErrorGroup.number == 0
    old = delete_batch(db, ErrorGroup, unused, ErrorGroup.last_seen < STATEMENT_TIME - age, limit=batch, guard=unused)
    return old + changed_rows(db.execute(_BEYOND, {"most": most, "batch": batch}))


_FORGET_TIMES = text("""
DELETE FROM error_times WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM error_times WHERE at < statement_timestamp() - :age LIMIT :batch FOR UPDATE SKIP LOCKED
))
""")


def forget_times(db: Session, age: timedelta, batch: int) -> int:
    """Delete a batch of the hours that are older than `age`. Returns how many."""
    return changed_rows(db.execute(_FORGET_TIMES, {"age": age, "batch": batch}))
