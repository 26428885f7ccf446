"""Deletes what users keep beyond RETENTION_BYTES: one batch of each, and the next at the next round."""

import logging
from datetime import timedelta

from sqlalchemy.orm import Session

from app.db.session import transaction
from app.db.statements import retention
from app.maintenance.rounds import AT_NEXT_ROUND, Needs, Pass, Round

logger = logging.getLogger(__name__)

EVERY_SECONDS = 2.0
BATCH = 500
# Deleting large values takes time: one batch of a user's tasks deletes at most so many bytes, or one task.
TRIM_BYTES = 64 * 1024**2
TRIM_USERS = 10
# However little a user may keep: a client has this long to read a result.
SPARED = timedelta(hours=1)


def trim_stored(db: Session, limit: int) -> bool:
    """Delete the tasks that ended first, of users whose ended tasks take more than `limit` bytes.

    Deletes one batch of each of a few users, and returns whether it may have left more to delete. A task stays for an
    hour after its end, also if it alone is larger than `limit`; then all that ended before it goes.
    """
    with transaction(db):
        found = retention.users_beyond(db, limit, TRIM_USERS)
    more = len(found) == TRIM_USERS
    for user_id, stored in found:
        wanted = min(stored - limit, TRIM_BYTES)
        with transaction(db):
            deleted, freed = retention.delete_oldest(db, user_id, wanted, SPARED, BATCH)
        more = more or deleted == BATCH or (freed >= wanted and stored - freed > limit)
        if deleted:
            logger.info(
                "maintenance: %d tasks of user %s deleted by RETENTION_BYTES: %d bytes", deleted, user_id, freed
            )
    return more


def _run(db: Session, this: Round) -> float | None:
    limit = this.settings.retention_bytes
    return AT_NEXT_ROUND if limit and trim_stored(db, limit) else None


PASS = Pass("trim_stored", EVERY_SECONDS, Needs.DATABASE, _run)
