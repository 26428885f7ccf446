"""The places of QUOTA_RUNNING_TASKS.

The setting holds from the first pass with it: tasks from before wait for places, and are released when it is gone.
"""

import logging

from sqlalchemy.orm import Session

from app.db.session import transaction
from app.db.sql import limits, user_places
from app.db.statements.user_place_terms import are_used
from app.maintenance.rounds import EACH_ROUND, Needs, Pass, Round
from app.services.operations.user_admission import UserAdmission, batches

logger = logging.getLogger(__name__)

BATCH = 500
# In one pass.
MOST_ROUNDS = 100


def hold_without_place(db: Session, quota: int) -> None:
    """Have the tasks wait that have no place and were made without the quota. Before others get their turns."""
    if not quota:
        return
    held = 0
    for statement in (user_places.hold_due, user_places.hold_without_place):
        for _ in range(MOST_ROUNDS):
            with transaction(db):
                number = statement(db, BATCH)
            held += number
            if number < BATCH:
                break
    if held:
        logger.info("maintenance: %d tasks had no place of their user, and wait for one", held)


def _run(db: Session, this: Round) -> None:
    """Free the places that nobody frees, and admit. Without a quota, release what waits for it."""
    quota = this.settings.quota_running_tasks
    with transaction(db):
        is_used = quota > 0 or user_places.is_used(db)
    if not is_used:
        return
    if not quota:
        _release_held(db)
    with transaction(db):
        users = user_places.users_at_hand(db)
    for batch in batches(users):
        with transaction(db):
            user_places.lock(db, batch)
            limits.release(db, user_places.of_users(batch), user_places.without_use())
            if quota:
                admission = UserAdmission(db, quota, batch)
                admission.take_back()
                admission.run()


def _release_held(db: Session) -> None:
    for _ in range(MOST_ROUNDS):
        with transaction(db):
            number = user_places.release_held(db, BATCH)
        if number:
            logger.info("maintenance: %d tasks wait for no place of their user any more", number)
        if number < BATCH:
            break


PASS = Pass("admit_by_user", EACH_ROUND, Needs.DATABASE, _run, are_used)
