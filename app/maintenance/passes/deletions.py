"""What maintenance deletes: requested tasks, what exceeds RETENTION_BYTES, old rows, files nobody sees."""

import logging
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import timedelta
from functools import partial

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from app.db.session import transaction
from app.db.statements import files, retention
from app.db.statements.batches import delete_batch
from app.db.statements.dependencies import is_needed
from app.db.statements.reads import has_rows
from app.maintenance.rounds import AT_NEXT_ROUND, EACH_ROUND, Needs, Pass, Round
from app.models.task import TERMINAL, Task
from app.services.files.deletion import delete_dropped, reason_of
from app.services.retention import FORGET, Rule, forget_batch
from app.storage import storage

logger = logging.getLogger(__name__)

REQUESTED_BATCH = 500
_REQUESTED = (Task.delete_requested_at.is_not(None), or_(*(Task.status == status.value for status in sorted(TERMINAL))))


def delete_requested(db: Session) -> int:
    """Delete a batch of them. Returns how many."""
    with transaction(db):
        return delete_batch(db, Task, *_REQUESTED, ~is_needed(), limit=REQUESTED_BATCH)


def _delete_requested(db: Session, _: Round) -> None:
    delete_requested(db)


DELETE_REQUESTED = Pass(
    "delete_requested",
    EACH_ROUND,
    Needs.DATABASE,
    _delete_requested,
    lambda: has_rows(select(Task.id).where(*_REQUESTED)),
)


# -- Deletes what users keep beyond RETENTION_BYTES: one batch of each, and the next at the next round -----------------

TRIM_SECONDS = 2.0
TRIM_BATCH = 500
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
    for user_id, _ in found:
        with transaction(db):
            # Again, under a lock: another process may have deleted them meanwhile.
            stored = retention.lock_stored(db, user_id)
            if stored is None or stored <= limit:
                continue
            wanted = min(stored - limit, TRIM_BYTES)
            deleted, freed = retention.delete_oldest(db, user_id, wanted, SPARED, TRIM_BATCH)
        more = more or deleted == TRIM_BATCH or (freed >= wanted and stored - freed > limit)
        if deleted:
            logger.info(
                "maintenance: %d tasks of user %s deleted by RETENTION_BYTES: %d bytes", deleted, user_id, freed
            )
    return more


def _trim(db: Session, this: Round) -> float | None:
    limit = this.settings.retention_bytes
    return AT_NEXT_ROUND if limit and trim_stored(db, limit) else None


TRIM_STORED = Pass("trim_stored", TRIM_SECONDS, Needs.DATABASE, _trim)


# -- Deletes what is of no use any more, rule by rule (`app/services/retention.py`), in a thread of its own ------------

FORGET_SECONDS = 10.0


def forget_pass(rules: Sequence[Rule] = FORGET) -> Pass:
    """Return the pass that deletes what these rules name. What takes longer of one lets the others have their turns."""
    due_at = dict.fromkeys(rules, 0.0)

    def run(db: Session, this: Round) -> float | None:
        again = None
        for rule in rules:
            if not this.stopping.is_set() and time.monotonic() >= due_at[rule]:
                due_at[rule] = time.monotonic() + rule.every  # also where it fails
                batch = partial(forget_batch, settings=this.settings, rule=rule)
                if this.run_batches(db, batch, rule.batch) is not None:
                    due_at[rule], again = 0.0, AT_NEXT_ROUND
        return again

    return Pass("forget", FORGET_SECONDS, Needs.THREAD, run)


FORGET_ROWS = forget_pass()


# -- Files and artifacts: drops what nobody will see, and has the bytes of what is dropped deleted ---------------------

FILES_SECONDS, FILES_BATCH = 2.0, 500
# An object store that does not answer: the process gives up before.
DELETE_SECONDS = 120


def _drop_files(db: Session, this: Round) -> float | None:
    def drop_batch(db: Session) -> int:
        with transaction(db):
            return files.drop_what_is_over(db, FILES_BATCH)

    return this.run_batches(db, drop_batch, FILES_BATCH)


def _delete_contents(db: Session, _: Round) -> None:
    waiting = files.dropped(db, 1)
    db.rollback()
    if not waiting:
        return
    if storage().deletes_in_process:
        error = delete_dropped(db)
        reason = None if error is None else reason_of(error)
    else:
        reason = _delete_in_another_process()
    if reason is not None:
        logger.warning("contents of deleted files stay in the storage for now: %s. See STORAGE_URL", reason)


def _delete_in_another_process() -> str | None:
    """Return why something stays."""
    command = [sys.executable, "-m", "app.services.files.deletion"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=DELETE_SECONDS, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        return "it does not answer"
    return done.stderr.strip().rpartition("\n")[2] if done.returncode else None


DROP_FILES = Pass("drop_files", FILES_SECONDS, Needs.DATABASE, _drop_files, files.is_any_over)
DELETE_CONTENTS = Pass(
    "delete_contents", FILES_SECONDS, Needs.THREAD, _delete_contents, lambda: has_rows(files.to_be_deleted())
)
