"""Adding failures to their groups, and what of the groups needs PostgreSQL."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, case, func, select, text
from sqlalchemy.orm import Session

from app.db.clock import STATEMENT_TIME
from app.db.postgresql.adding import Columns, Rows, add_rows, adding
from app.db.postgresql.batches import delete_batch
from app.db.rows import changed_rows
from app.db.statements.tables import ERROR_GROUPS
from app.models.error_group import ErrorGroup, ErrorState, error_times
from app.models.user import User

_COLUMNS = (
    *("fingerprint", "user_id", "celery_task_name", "error_type"),
    *("message", "first_seen", "last_seen", "count"),
)  # fmt: skip


def _seen_again(old: Columns, new: Columns) -> dict[str, ColumnElement[Any]]:
    set_after = func.coalesce(old.state_set_at, old.last_seen) < new.last_seen
    reopens = (old.state == ErrorState.RESOLVED) & set_after
    return {
        "count": old["count"] + new["count"],
        "first_seen": func.least(old.first_seen, new.first_seen),
        "last_seen": func.greatest(old.last_seen, new.last_seen),
        "message": new.message,
        "state": case((reopens, ErrorState.OPEN.value), else_=old.state),
    }


_FAILURES = adding(ERROR_GROUPS, _COLUMNS, _seen_again)
_MOVES = adding(ERROR_GROUPS, _COLUMNS, lambda old, new: {"count": old["count"] + new["count"]})
_TIMES = adding(
    error_times, ("fingerprint", "at", "number"), lambda old, new: {"number": old.number + new.number}
)  # fmt: skip


def keep_users(db: Session, users: Sequence[UUID]) -> set[UUID]:
    """Those of the users that exist. None of them can be deleted until the commit."""
    found = select(User.id).where(User.id.in_(users)).order_by(User.id)
    return set(db.scalars(found.with_for_update(read=True, key_share=True)))


def add_failures(db: Session, rows: Rows) -> None:
    """Make or raise the groups of these failures, and reopen resolved ones. Each row has the group's columns."""
    add_rows(db, _FAILURES, rows)


def add_moves(db: Session, rows: Rows) -> None:
    """Add numbers alone: of tasks that are failed no more. The rows are as for `add_failures`."""
    add_rows(db, _MOVES, rows)


def add_times(db: Session, rows: Rows) -> None:
    """Add failures to their hours: `fingerprint`, `at`, `number`."""
    add_rows(db, _TIMES, rows)


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
