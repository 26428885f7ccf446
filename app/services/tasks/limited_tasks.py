"""What a submit asks of the limits that its tasks name: that they exist, and what `on_excess` says of too many.

Waiting is no matter of the submit: a task with a limit is inserted as held, and admitted after the commit
(`app/services/operations/admission.py`).
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from app.core.nearest import did_you_mean
from app.db.sql import limits
from app.db.statements import limit_places
from app.db.statements.pending_rows import PENDING
from app.errors import LimitReached, Text, UnknownLimit
from app.models.audit import AuditEvent
from app.models.limit import Limit, OnExcess
from app.models.task import Task
from app.services import audit
from app.services.tasks import task_changes, task_queries
from app.services.tasks.new_rows import NewTask

MOST_NAMED = 100  # of the limits that an unknown name is compared with: within the transaction of the submit

Row = dict[str, Any]


def lock_limits(db: Session, rows: Sequence[NewTask]) -> dict[str, Limit]:
    """Lock the limits that these rows name until the commit, and return those that there are, by name.

    Before a task is replaced, whose row is locked then: limits come first in every transaction.
    """
    names = {row.limit for row in rows if row.limit is not None}
    return limits.keep_limits(db, names, for_excess=True) if names else {}


def check_limits(
    db: Session, found: Mapping[str, Limit], new: Sequence[NewTask], replacing: Sequence[NewTask]
) -> Collection[UUID]:  # fmt: skip
    """Look at tasks of one user before they are written: cancel others, or refuse, as the limits of the new ones say.

    `found` are the limits as `lock_limits` gives them, in this transaction. Returns the ids of the tasks that it has
    cancelled. Raises UnknownLimit, LimitReached.
    """
    _check_known(db, found, [row.limit for row in (*new, *replacing) if row.limit is not None])
    cancelled = set[UUID]()
    for name in sorted({row.limit for row in new if row.limit is not None}):
        if found[name].on_excess == OnExcess.WAIT:
            continue
        limit = limits.lock_limit(db, name)
        if limit is not None:
            cancelled |= _Excess(db, limit).check([row.values for row in new if row.limit == name])
    return cancelled


def keep_limit(db: Session, name: str) -> None:
    """Have this limit not deleted until the commit. Raises UnknownLimit."""
    _check_known(db, limits.keep_limits(db, {name}), [name])


def _check_known(db: Session, found: Mapping[str, Limit], names: Sequence[str]) -> None:
    for name in names:
        if name not in found:
            known = db.scalars(select(Limit.name).limit(MOST_NAMED))
            raise UnknownLimit(name, did_you_mean(name, known))


class _Excess:
    """New tasks of one user under one limit, which this transaction has locked."""

    def __init__(self, db: Session, limit: Limit) -> None:
        self._db, self._limit = db, limit
        self._new: Counter[str | None] = Counter()
        self._cancelled = set[UUID]()

    def check(self, rows: Sequence[Row]) -> set[UUID]:
        """Returns the ids of the tasks that it has cancelled."""
        starts = limits.usage_of_limit(self._db, self._limit).starts
        for row in rows:
            key = row["limit_key"]
            full = self._full(row["user_id"], key)
            if full is not None:
                self._exceeded(row["user_id"], *full)
            elif self._limit.on_excess == OnExcess.REJECT and self._has_no_start(row, starts):
                raise LimitReached(Text("The rate of limit {} allows no start now", self._limit.name))
            self._new[None] += 1
            if key is not None:
                self._new[key] += 1
        return self._cancelled

    def _full(self, user_id: UUID, key: str | None) -> tuple[str | None] | None:
        """In a tuple, the key that is full, or None for the whole limit; None where there is room."""
        bounds = ((None, self._limit.concurrency), (key, self._limit.concurrency_per_key if key else None))
        for of, most in bounds:
            if most is not None and self._own(user_id, of) >= most:
                return (of,)
        return None

    def _own(self, user_id: UUID, key: str | None) -> int:
        """What runs, whoever's it is, and the user's own that wait."""
        name = self._limit.name
        return limit_places.running(self._db, name, key) + self._own_pending(user_id, key) + self._new[key]

    def _own_pending(self, user_id: UUID, key: str | None) -> int:
        count = select(func.count()).where(*self._waits(user_id, key))
        return self._db.execute(count).scalar_one()

    def _own_oldest(self, user_id: UUID, key: str | None) -> UUID | None:
        oldest = select(Task.id).where(*self._waits(user_id, key)).order_by(Task.id).limit(1)
        return self._db.execute(oldest).scalar_one_or_none()

    def _waits(self, user_id: UUID, key: str | None) -> tuple[ColumnElement[bool], ...]:
        """The pending tasks of this user that name the limit, or this key of it."""
        of_key = () if key is None else (Task.limit_key == key,)
        return (Task.limit == self._limit.name, Task.user_id == user_id, PENDING, *of_key)

    def _has_no_start(self, row: Row, starts: int) -> bool:
        rate, by_key, key = self._limit.rate, self._limit.rate_per_key, row["limit_key"]
        if row["run_at"] is not None or row["delay_seconds"]:
            return False
        if rate is not None and starts + self._new[None] >= rate.count:
            return True
        if by_key is None or key is None:
            return False
        used = limits.usage_of_keys(self._db, self._limit, [key]).get(key)
        return (used.starts if used else 0) + self._new[key] >= by_key.count

    def _exceeded(self, user_id: UUID, key: str | None) -> None:
        name = self._limit.name if key is None else f"{self._limit.name}:{key}"
        if self._limit.on_excess == OnExcess.REJECT:
            raise LimitReached(Text("Limit {}: what runs and your own waiting tasks are as many as it allows", name))
        oldest = self._own_oldest(user_id, key)
        if oldest is None:
            return
        task = task_queries.read(self._db, oldest)
        if task_changes.revoke_pending(self._db, oldest):
            self._cancelled.add(oldest)
            audit.record_task(self._db, AuditEvent.TASK_CANCELLED, task, was="pending", by_limit=self._limit.name)
