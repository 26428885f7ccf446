"""Gives the tasks that have become due their turns."""

from uuid import UUID

from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.db.every_engine.turns import PLACE_BATCH
from app.db.outage import is_locked
from app.db.session import transaction
from app.db.sql import turns
from app.maintenance.passes import running_quota
from app.maintenance.rounds import EACH_ROUND, Needs, Pass, Round


def give_turns(db: Session) -> None:
    """Give every pending task that has become due its turn, in batches.

    A transaction that holds the turns of its users, and is not over yet, delays the tasks of those users alone.
    """
    if _give_all(db):
        return
    with transaction(db):
        users = turns.users_to_place(db)
    for user_id in users:
        _give_all(db, user_id)


def _give_all(db: Session, user_id: UUID | None = None) -> bool:
    """Give all that are due their turns, of all users or of this one. Returns False where a lock is in the way."""
    given = PLACE_BATCH
    try:
        while given == PLACE_BATCH:
            with transaction(db):
                given = turns.place_due(db, user_id)
    except OperationalError as error:
        if not is_locked(error):
            raise
        return False
    return True


def _run(db: Session, this: Round) -> None:
    # In one pass: where the first fails, no task gets a turn that has to wait for a place of its user.
    running_quota.hold_without_place(db, this.settings.quota_running_tasks)
    give_turns(db)


PASS = Pass("give_turns", EACH_ROUND, Needs.DATABASE, _run)
