"""Fires the schedules that are due, users in turn, and computes their next times anew when the time zones change."""

import logging
from collections.abc import Callable, Sequence
from datetime import timedelta
from itertools import accumulate
from time import monotonic
from uuid import UUID

from sqlalchemy import or_
from sqlalchemy.orm import Session

from app.core.fair_order import by_turns
from app.db.outage import first_line, is_passing
from app.db.session import transaction
from app.db.statements import schedules as statements
from app.db.statements.reads import has_rows
from app.db.statements.schedules import Found
from app.db.together import blamed, together
from app.db.transactions import retry_deadlocks
from app.ddl.clock import STATEMENT_TIME
from app.maintenance.rounds import AT_NEXT_ROUND, EACH_ROUND, Needs, Pass, Round
from app.schedules import zones
from app.services.schedules import due_schedules

logger = logging.getLogger(__name__)

# Tasks, and times without one, that a pass writes at most: the others are due at the next one.
MOST = 1000
# After so long nothing more begins in this pass: the other passes are to run, and the lease to be renewed. The next
# pass goes on with those who have waited longest.
SECONDS = 0.5
# Schedules that share a transaction, and the bytes of their requests, tags and metadata. Submits of their users wait.
TOGETHER, MOST_BYTES = 500, 8 * 1024 * 1024
# All schedules are read: the version changes with a deploy alone, and each process looks at its first round.
EACH_HOUR = 3600.0
# After an error that is none of the database's state.
PUT_OFF = timedelta(minutes=1)


class Turns:
    """Orders users for firing, the least recently served first, as far as this process has served them."""

    def __init__(self, find: Callable[[Session, int], list[Found]]) -> None:
        self._find = find
        self._had = dict[UUID, int]()
        self._number = 0

    def find(self, db: Session, most: int) -> list[Found]:
        """Return what is to be fired, users by turns: first who had none, as they come, then who had it longest ago."""
        with transaction(db):
            found = self._find(db, most)
        users = {each.user_id for each in found}
        self._had = {user_id: number for user_id, number in self._had.items() if user_id in users}
        return by_turns(sorted(found, key=lambda each: self._had.get(each.user_id, 0)), lambda each: each.user_id)

    def had(self, user_id: UUID) -> None:
        """Note that this user has had a turn now."""
        self._number += 1
        self._had[user_id] = self._number


_DUE, _FREE_AGAIN = Turns(statements.due), Turns(statements.free_again)


def fire_due(db: Session, most: int = MOST) -> int:
    """Fire what is due, and then what waits for the end of a task that has ended. Returns how many times it wrote.

    Ends after SECONDS, with a user of each kind at least.
    """
    until = monotonic() + SECONDS
    fired = _fire_all(db, _DUE, most, until)
    return fired + _fire_all(db, _FREE_AGAIN, most - fired, until)


def _fire_all(db: Session, turns: Turns, most: int, until: float) -> int:
    """Share out what a user leaves of their share, as long as any of the others has more."""
    left = most
    while left > 0:
        waiting, written = turns.find(db, left), 0
        while waiting and written < left and (not written or monotonic() < until):
            share = max((left - written) // len({each.user_id for each in waiting}), 1)
            number = _number_together(waiting)
            written += _fire(db, turns, waiting[:number], share, until)
            del waiting[:number]
        left -= written
        if not written or monotonic() >= until:
            break
    return most - left


def _number_together(found: Sequence[Found]) -> int:
    """Return how many of these schedules share a transaction: one at least."""
    sizes = accumulate(each.bytes for each in found[:TOGETHER])
    return max(sum(size <= MOST_BYTES for size in sizes), 1)


def _fire(db: Session, turns: Turns, found: Sequence[Found], share: int, until: float) -> int:
    """Fire these, with `share` tasks of each user at most. Returns how many times it wrote.

    One that cannot be fired is put off, and costs the others nothing. After `until`, one part at least is done.
    """
    has_moved = False

    def do(part: Sequence[Found]) -> int:
        nonlocal has_moved
        if has_moved and monotonic() >= until:
            return 0
        turns.had(part[0].user_id)  # who comes first is looked at for sure: next time that is another one
        with blamed(db):
            fired = retry_deadlocks(lambda: due_schedules.fire(db, [each.id for each in part], share))
        for look in fired:
            turns.had(look.schedule.user_id)
        has_moved = True
        return sum(look.rows for look in fired)

    def alone(one: Found, error: Exception) -> int:
        nonlocal has_moved
        has_moved = True
        if is_passing(error):
            logger.warning("schedules: %s is tried again, after: %s", one.id, first_line(error))
            return 0
        logger.error("schedules: %s is tried again in a minute", one.id, exc_info=error)
        with transaction(db):
            statements.write(db, one.id, due_at=STATEMENT_TIME + PUT_OFF)
        return 1

    return sum(together("schedules", found, do, alone))


def _run(db: Session, _: Round) -> float | None:
    """Fire what is due. Another run follows before the next round, where something was left."""
    begun = monotonic()
    fire_due(db)
    return AT_NEXT_ROUND if monotonic() >= begun + SECONDS else None


def _rezone(db: Session, this: Round) -> float | None:
    return this.run_batches(db, lambda db: due_schedules.rezone(db, zones.tzdata_version()), due_schedules.REZONE_BATCH)


FIRE = Pass(
    "fire_schedules",
    EACH_ROUND,
    Needs.DATABASE,
    _run,
    lambda: or_(*map(has_rows, statements.to_be_fired())),
    between_rounds=True,
)
REZONE = Pass("rezone_schedules", EACH_HOUR, Needs.DATABASE, _rezone)
