"""Gives places of limits to the tasks that wait for them, in the order in which claims would take them.

A place is given before the claim, and is held until the body has ended. So at most as many bodies run as there are
places, and a claim knows nothing of limits. An admission is one short transaction under the lock of its limit.
Whatever is lost on the way (a process between the end of a body and the admission) costs one pass of maintenance.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from sqlalchemy import ColumnElement
from sqlalchemy.orm import Session

from app.core.config import get_settings
from app.db.session import transaction
from app.db.sql import held_tasks, limits
from app.db.statements.held_rows import SIZES, HeldRow
from app.db.statements.limit_places import Usage
from app.ddl.trigger_terms import USER_LIMIT
from app.models.limit import Limit, Rate
from app.models.task import Held
from app.services.operations import user_admission
from app.services.operations.lines import MOST_ROUNDS, is_known, lines_of, wake_for
from app.services.operations.live_workers import look

# So many admitted tasks keep the slots busy until the next admission, at the end of a body or in a pass of maintenance.
# Those behind them keep their order, and cost nothing.
MOST_AHEAD = 500
UNUSED = Usage(0, 0)

# The limits in which places have become free, each with the keys.
Freed = dict[str, set[str]]


def free(db: Session, *which: ColumnElement[bool]) -> None:
    """Free the places that match, whose bodies have ended, and give them to the next tasks. Transactions of its own."""
    with transaction(db):
        freed = release(db, *which)
    for name, keys in freed.items():
        admit(db, name, keys)


def release(db: Session, *which: ColumnElement[bool]) -> Freed:
    """Free the places that match. The caller commits, and admits others then."""
    freed: Freed = {}
    for name, key in limits.release(db, *which):
        freed.setdefault(name, set()).update([] if key is None else [key])
    return freed


def admit(db: Session, name: str, freed_keys: Collection[str] = ()) -> int:
    """Give the free places of this limit to the tasks that wait. One transaction.

    Returns how many tasks that were admitted before still waited for a claim: if any did, no slot has waited for this.
    USER_LIMIT stands for the quotas of the users who are the keys. Their tasks may wait for limits then.
    """
    if name == USER_LIMIT:
        named, ahead = user_admission.admit(db, freed_keys, get_settings().quota_running_tasks)
        for limit_name in sorted(named):
            admit(db, limit_name)
        return ahead
    with transaction(db):
        limit = limits.lock(db, name)
        return 0 if limit is None else Admission(db, limit).run(freed_keys)


@dataclass
class _Chosen:
    """What becomes of rows that were looked at."""

    admitted: list[HeldRow] = field(default_factory=list)
    key_is_full: list[HeldRow] = field(default_factory=list)
    unknown: list[HeldRow] = field(default_factory=list)


class Admission:
    """Of one limit that this transaction has locked. The caller commits soon."""

    def __init__(self, db: Session, limit: Limit) -> None:
        self._db, self._limit = db, limit
        look(db)
        self.lines = lines_of(db)

    def run(self, freed_keys: Collection[str] = ()) -> int:
        """Admit as many rows as there are places, and wake slots for them after the commit.

        Returns how many waited for a claim before.
        """
        self.ask_for(freed_keys)
        used, queues = limits.usage(self._db, self._limit), list[str]()
        room = self._room_beside(used)
        for _ in range(MOST_ROUNDS):
            if room <= 0:
                break
            rows = held_tasks.next_held(self._db, self._limit.name, self.lines, room)
            if not rows:
                break
            chosen = self._choose(rows, room)
            self._write(chosen)
            room -= len(chosen.admitted)
            queues += [row.queue for row in chosen.admitted]
        wake_for(self._db, queues, used.ahead)
        return used.ahead

    def room(self) -> int:
        """How many rows may be admitted now, whatever their keys."""
        return self._room_beside(limits.usage(self._db, self._limit))

    def _room_beside(self, used: Usage) -> int:
        return min(MOST_AHEAD - used.ahead, _room(used, self._limit.concurrency, self._limit.rate))

    def rooms_of(self, keys: Collection[str]) -> dict[str, int]:
        """The same for each of these keys, of a limit that has a bound for each key."""
        used = limits.usage_of_keys(self._db, self._limit, keys)
        bounds = self._limit.concurrency_per_key, self._limit.rate_per_key
        return {key: _room(used.get(key, UNUSED), *bounds) for key in keys}

    def ask_for(self, keys: Collection[str]) -> None:
        """Have the next row of each of these keys wait for the limit again, and no longer for its key alone."""
        if keys:
            found = held_tasks.next_of_keys(self._db, self._limit.name, self.lines, keys)
            held_tasks.hold(self._db, [task_id for task_id, _ in found.values()], Held.LIMIT)

    def _choose(self, rows: Sequence[HeldRow], room: int) -> _Chosen:
        by_key = self._limit.is_by_key
        rooms = self.rooms_of({row.limit_key for row in rows if row.limit_key is not None}) if by_key else {}
        chosen = _Chosen()
        for row in rows:
            if len(chosen.admitted) == room:
                break
            if not is_known(row.queue, row.celery_task_name):
                chosen.unknown.append(row)
            elif row.limit_key in rooms and rooms[row.limit_key] <= 0:
                chosen.key_is_full.append(row)
            else:
                chosen.admitted.append(row)
                if row.limit_key in rooms:
                    rooms[row.limit_key] -= 1
        self._again = {row.limit_key for row in chosen.admitted if row.limit_key and rooms.get(row.limit_key, 0) > 0}
        return chosen

    def _write(self, chosen: _Chosen) -> None:
        if chosen.admitted:
            limits.admit(self._db, [row.id for row in chosen.admitted])
        held_tasks.hold(self._db, [row.id for row in chosen.key_is_full], Held.LIMIT_KEY)
        held_tasks.hold(self._db, [row.id for row in chosen.unknown], Held.NAME)
        self.ask_for(self._again)


def _room(used: Usage, most: int | None, rate: Rate | None) -> int:
    rooms = [] if most is None else [most - used.taken]
    if rate is not None:
        rooms.append(rate.count - used.starts)
    return min(rooms, default=SIZES[-1])
