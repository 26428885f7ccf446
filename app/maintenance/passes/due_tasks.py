"""Gives the tasks that have become due their turns."""

from uuid import UUID

from sqlalchemy import ColumnElement, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.db.outage import is_locked
from app.db.session import transaction
from app.db.sql import turns
from app.db.statements.claim_requests import PLACE_BATCH
from app.db.statements.conditions import has_rows
from app.db.statements.held_rows import PENDING
from app.db.statements.tables import TASKS
from app.ddl.clock import STATEMENT_TIME
from app.maintenance.passes import running_quota
from app.maintenance.rounds import EACH_ROUND, Needs, Pass, Round

# Where turns are given user by user, the users of so many tasks are looked at in one round.
MOST_UNPLACED = 100_000
_DUE = (PENDING, TASKS.c.turn.is_(None), TASKS.c.due_at <= STATEMENT_TIME)


def give_turns(db: Session) -> None:
    """Give every pending task that has become due its turn, in batches.

    A transaction that holds the turns of its users, and is not over yet, delays the tasks of those users alone.
    """
    if _give_all(db):
        return
    # In the order of an index: else SQLite would take another one.
    rows = select(TASKS.c.user_id).where(*_DUE)
    oldest = rows.order_by(TASKS.c.due_at).limit(MOST_UNPLACED).subquery("unplaced")
    with transaction(db):
        users = db.scalars(select(oldest.c.user_id).distinct()).all()
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


def _has_work() -> ColumnElement[bool]:
    # A task that has its turn and no place of its user is ready: the wake-ups look for these.
    return has_rows(select(TASKS.c.id).where(*_DUE).order_by(TASKS.c.due_at))


PASS = Pass("give_turns", EACH_ROUND, Needs.DATABASE, _run, _has_work)
