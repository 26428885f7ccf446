"""The passes of maintenance over the places of QUOTA_RUNNING_TASKS.

The setting holds from the first pass with it: tasks from before wait for places, and are released when it is gone.
"""

import logging

from sqlalchemy.orm import Session

from app.db.session import transaction
from app.db.sql import limits, user_places
from app.services.operations.user_admission import UserAdmission, batches

logger = logging.getLogger(__name__)

BATCH = 500
# In one pass.
MOST_ROUNDS = 100


def hold(db: Session, quota: int) -> None:
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


def settle(db: Session, quota: int) -> None:
    """Free the places that nobody frees, and admit. Without a quota, release what waits for it."""
    for _ in range(MOST_ROUNDS if not quota else 0):
        with transaction(db):
            number = user_places.release_held(db, BATCH)
        if number:
            logger.info("maintenance: %d tasks wait for no place of their user any more", number)
        if number < BATCH:
            break
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
