"""Files and artifacts: drops what nobody will see, and has the bytes of what is dropped deleted."""

import logging
import subprocess
import sys
from collections.abc import Callable

from sqlalchemy import ColumnElement
from sqlalchemy.orm import Session

from app.db.session import transaction
from app.db.statements import files
from app.db.statements.conditions import has_rows
from app.maintenance.rounds import Needs, Pass, Round
from app.services.files.deleting import delete_dropped, reason_of
from app.storage.store import storage

logger = logging.getLogger(__name__)

EACH_SECONDS, EACH_HOUR, BATCH = 2.0, 3600.0, 500
# An object store that does not answer: the process gives up before.
DELETE_SECONDS = 120


def _drop(db: Session, this: Round) -> float | None:
    return _in_batches(files.drop_what_is_over, db, this)


def _delete(db: Session, _: Round) -> None:
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
    command = [sys.executable, "-m", "app.services.files.deleting"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=DELETE_SECONDS, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        return "it does not answer"
    return done.stderr.strip().rpartition("\n")[2] if done.returncode else None


def _forget(db: Session, this: Round) -> float | None:
    return _in_batches(files.forget_uses, db, this)


def _in_batches(statement: Callable[[Session, int], int], db: Session, this: Round) -> float | None:
    def batch(db: Session) -> int:
        with transaction(db):
            return statement(db, BATCH)

    return this.run_batches(db, batch, BATCH)


def _there_are_dropped() -> ColumnElement[bool]:
    return has_rows(files.to_be_deleted())


DROP = Pass("drop_files", EACH_SECONDS, Needs.DATABASE, _drop, files.is_any_over)
DELETE = Pass("delete_contents", EACH_SECONDS, Needs.THREAD, _delete, _there_are_dropped)
FORGET = Pass("forget_uses_of_files", EACH_HOUR, Needs.DATABASE, _forget)
