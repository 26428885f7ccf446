"""Adds failures to their groups. Maintenance does, in the transaction that adds up the counts: no change is lost."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from app.db.session import transaction
from app.db.statements import error_groups as statements
from app.models.error_group import FORGET_AFTER, MOST_FORGETTABLE, TIMES_KEPT
from app.models.task_count import Ended
from app.models.task_stats import begin_of_step

FORGET_BATCH = 1000
HOUR = 3600


def add(db: Session, now: datetime, changes: Iterable[Ended]) -> None:
    """Make the groups of new failures, and add up what has become of failed tasks. The caller commits."""
    of_errors = [change for change in changes if change.error is not None]
    if not of_errors:
        return
    users = statements.keep_users(db, sorted({change.user_id for change in of_errors}))
    by_error: dict[str, list[Ended]] = {}
    for change in of_errors:
        if change.error is not None and change.user_id in users:
            by_error.setdefault(change.error, []).append(change)
    failures: list[dict[str, Any]] = []
    moves: list[dict[str, Any]] = []
    times = Counter[tuple[str, datetime]]()
    for error in sorted(by_error):
        group = _group(now, error, by_error[error])
        (failures if any(change.ends for change in by_error[error]) else moves).append(group)
        for change in by_error[error]:
            if change.at is not None and change.at > now - TIMES_KEPT:
                times[error, begin_of_step(change.at, HOUR)] += change.ends
    statements.add_failures(db, failures)
    statements.add_moves(db, moves)
    rows = [{"fingerprint": error, "at": at, "number": number} for (error, at), number in sorted(times.items())]
    statements.add_times(db, rows)


def forget(db: Session) -> int:
    """Delete a batch of the groups without a failed task that are old or many, and of old hours. Returns how many."""
    with transaction(db):
        groups = statements.forget(db, FORGET_AFTER, MOST_FORGETTABLE, FORGET_BATCH)
        return groups + statements.forget_times(db, TIMES_KEPT, FORGET_BATCH)


def _group(now: datetime, error: str, changes: Sequence[Ended]) -> dict[str, Any]:
    ends = [change for change in changes if change.last_end is not None]
    newest = max(ends, key=_last_end, default=changes[0])
    return {
        "fingerprint": error,
        "user_id": newest.user_id,
        "celery_task_name": newest.celery_task_name,
        "error_type": newest.error_type or "",
        "message": newest.error_message,
        "first_seen": min((change.first_end for change in ends if change.first_end), default=now),
        "last_seen": newest.last_end or now,
        "count": sum(change.number for change in changes),
    }


def _last_end(change: Ended) -> datetime:
    assert change.last_end is not None
    return change.last_end
