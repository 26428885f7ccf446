"""Fires the schedules that are due, users in turn, and computes their next times anew when the time zones change."""

import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import timedelta
from time import monotonic
from uuid import UUID

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app.db.outage import first_line, is_outage, is_passing
from app.db.session import transaction
from app.db.statements import schedules as statements
from app.db.statements.reads import has_rows
from app.db.statements.schedules import Found
from app.ddl.clock import STATEMENT_TIME
from app.maintenance.rounds import AT_NEXT_ROUND, EACH_ROUND, Needs, Pass, Round
from app.schedules import zones
from app.services.schedules import due_schedules

logger = logging.getLogger(__name__)

# Tasks, and times without one, that a pass writes at most: the others are due at the next one.
MOST = 1000
# After so long no user has a turn in this pass any more: the other passes are to run, and the lease to be renewed. The
# next pass goes on with those who have waited longest.
SECONDS = 0.5
# Schedules of several users that share a transaction.
TOGETHER = 50
# Bytes of the schedules of one transaction: their requests, tags and metadata.
MOST_BYTES = 8 * 1024 * 1024
# All schedules are read: the version changes with a deploy alone, and each process looks at its first round.
EACH_HOUR = 3600.0
# After an error that is none of the database's state.
PUT_OFF = timedelta(minutes=1)


class Turns:
    """Who had a turn, of those who had more to be fired at the last look of one kind. This process's own.

    And how much of whom a transaction can take that has failed as if the database were away: the next one takes less.
    """

    def __init__(self, find: Callable[[Session, int], list[Found]]) -> None:
        self.find = find
        self._had = dict[UUID, int]()
        self._most = dict[UUID, int]()
        self._number = 0

    def order(self, users: Collection[UUID]) -> list[UUID]:
        """Return these, who are due, in the order of their turns: first who had none, as they come, then who had it
        longest ago.
        """
        self._had = {each: self._had[each] for each in users if each in self._had}
        self._most = {each: self._most[each] for each in users if each in self._most}
        return sorted(users, key=lambda each: self._had.get(each, 0))

    def had(self, user_id: UUID) -> None:
        """This user has had a turn now."""
        self._number += 1
        self._had[user_id] = self._number

    def most(self, user_id: UUID) -> int:
        """Return how many tasks and schedules of this user one transaction takes."""
        return self._most.get(user_id, MOST)

    def note(self, user_id: UUID, number: int, *, failed: bool) -> None:
        """A transaction with so many has failed, or has not: the next ones have far less, or a little more."""
        self._most[user_id] = max(number // 4, 1) if failed else number + max(number // 8, 1)
        if self._most[user_id] >= MOST:
            del self._most[user_id]


_DUE, _FREE_AGAIN = Turns(statements.due), Turns(statements.free_again)


def fire_due(db: Session, most: int = MOST) -> int:
    """Fire what is due, and then what waits for the end of a task that has ended. Returns how many times it wrote.

    Ends after SECONDS, with a user of each kind at least.
    """
    until = monotonic() + SECONDS
    fired = _fire_all(db, _DUE, most, until)
    return fired + _fire_all(db, _FREE_AGAIN, most - fired, until)


def _fire_all(db: Session, turns: Turns, most: int, until: float) -> int:
    """What a user leaves of their share goes to the others, as long as any of them has more."""
    left = most
    while left > 0:
        with transaction(db):
            found = turns.find(db, left)
        users: dict[UUID, list[Found]] = {}
        for each in found:
            users.setdefault(each.user_id, []).append(each)
        written, waiting = 0, turns.order(users)
        while waiting:
            share = max((left - written) // len(waiting), 1)
            its = [users[each][:share] for each in waiting[: max(min(TOGETHER, left - written), 1)]]
            number = _number_together(turns, its)
            # Of those who share a transaction the first one is served for sure: next time that is the second one.
            for user_id in [*waiting[1:number], waiting[0]]:
                turns.had(user_id)
            del waiting[:number]
            if number == 1:
                written += _fire_of_user(db, turns, its[0], share, until)
            else:
                written += _fire_of_users(db, turns, its[:number], share)
            if written >= left or monotonic() >= until:
                break
        left -= written
        if not written or monotonic() >= until:
            break
    return most - left


def _number_together(turns: Turns, users: Sequence[Sequence[Found]]) -> int:
    """Return how many of these users, from the first one on, share a transaction: some with little each."""
    number = found = size = 0
    for its in users:
        found += len(its)
        size += sum(each.bytes for each in its)
        if found > TOGETHER or size > MOST_BYTES or turns.most(its[0].user_id) < MOST:
            break
        number += 1
    return max(number, 1)


def _fire_of_users(db: Session, turns: Turns, users: Sequence[Sequence[Found]], share: int) -> int:
    """Where the connection is lost and the database answers nevertheless, each has a transaction of their own next."""
    try:
        return _fire(db, [each.id for its in users for each in its], share)
    except DBAPIError as error:
        if not is_outage(error) or not _answers(db):
            raise
        logger.warning("schedules: %d users are tried one by one, after: %s", len(users), first_line(error))
        for its in users:
            turns.note(its[0].user_id, len(its) * 4, failed=True)
        return 0


def _fire_of_user(db: Session, turns: Turns, found: Sequence[Found], share: int, until: float) -> int:
    """Where the connection is lost and the database answers nevertheless, the others go on, and this user with less."""
    user_id, written = found[0].user_id, 0
    most = min(share, turns.most(user_id))
    for ids in _batches(found[:most]):
        try:
            written += _fire(db, ids, most - written)
        except DBAPIError as error:
            if not is_outage(error) or not _answers(db):
                raise
            logger.warning("schedules: of user %s fewer are tried, after: %s", user_id, first_line(error))
            if most == 1:
                _put_off(db, ids[0])
            turns.note(user_id, len(ids) if len(ids) > 1 else most, failed=True)
            return written
        if written >= most or monotonic() >= until:
            break
    if most < share:
        turns.note(user_id, most, failed=False)
    return written


def _answers(db: Session) -> bool:
    try:
        with transaction(db):
            db.execute(select(STATEMENT_TIME))
    except DBAPIError:
        return False
    return True


def _batches(found: Sequence[Found]) -> Iterator[list[UUID]]:
    batch: list[UUID] = []
    size = 0
    for each in found:
        if batch and size + each.bytes > MOST_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(each.id)
        size += each.bytes
    if batch:
        yield batch


def _fire(db: Session, ids: list[UUID], most: int) -> int:
    """Fire them together. If that fails, halve them, so that one that cannot be fired costs the others nothing."""
    try:
        return due_schedules.fire(db, ids, most)
    except Exception as error:
        db.rollback()
        if is_outage(error):
            raise
        if is_passing(error):
            logger.warning("schedules: %d are tried again, after: %s", len(ids), first_line(error))
            return 0
        if len(ids) > 1:
            half = len(ids) // 2
            return _fire(db, ids[:half], most) + _fire(db, ids[half:], most)
        logger.exception("schedules: %s is tried again in a minute", ids[0])
        _put_off(db, ids[0])
        return 1


def _put_off(db: Session, schedule_id: UUID) -> None:
    with transaction(db):
        statements.write(db, schedule_id, due_at=STATEMENT_TIME + PUT_OFF)


def _run(db: Session, _: Round) -> float | None:
    """Another run follows before the next round, where something was left."""
    begun = monotonic()
    fire_due(db)
    return AT_NEXT_ROUND if monotonic() >= begun + SECONDS else None


def _rezone(db: Session, this: Round) -> float | None:
    return this.run_batches(db, lambda db: due_schedules.rezone(db, zones.version()), due_schedules.REZONE_BATCH)


def _has_work() -> ColumnElement[bool]:
    return or_(*map(has_rows, statements.to_be_fired()))


FIRE = Pass("fire_schedules", EACH_ROUND, Needs.DATABASE, _run, _has_work, between_rounds=True)
REZONE = Pass("rezone_schedules", EACH_HOUR, Needs.DATABASE, _rezone)
