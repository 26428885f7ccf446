"""Files and artifacts: drops what nobody will see, and has the bytes of what is dropped deleted."""

import logging
import subprocess
import sys
from collections.abc import Callable

from sqlalchemy.orm import Session

from app.db.session import transaction
from app.db.statements import files
from app.maintenance.rounds import Needs, Pass, Round

logger = logging.getLogger(__name__)

EACH_SECONDS, EACH_HOUR, BATCH = 2.0, 3600.0, 500
# An object store that does not answer: obstore gives up before.
DELETE_SECONDS = 120


def _drop(db: Session, this: Round) -> float | None:
    return _in_batches(files.drop_what_is_over, db, this)


def _delete(db: Session, _: Round) -> None:
    waiting = files.dropped(db, 1)
    db.rollback()
    if not waiting:
        return
    command = [sys.executable, "-m", "app.services.files.deleting"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=DELETE_SECONDS, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        logger.warning("contents of deleted files stay in the storage: it does not answer. See STORAGE_URL")
        return
    if done.returncode:
        reason = done.stderr.strip().rpartition("\n")[2]
        logger.warning("contents of deleted files stay in the storage: %s. See STORAGE_URL", reason)


def _forget(db: Session, this: Round) -> float | None:
    return _in_batches(files.forget_uses, db, this)


def _in_batches(statement: Callable[[Session, int], int], db: Session, this: Round) -> float | None:
    def batch(db: Session) -> int:
        with transaction(db):
            return statement(db, BATCH)

    return this.run_batches(db, batch, BATCH)


DROP = Pass("drop_files", EACH_SECONDS, Needs.DATABASE, _drop)
DELETE = Pass("delete_contents", EACH_SECONDS, Needs.THREAD, _delete)
FORGET = Pass("forget_uses_of_files", EACH_HOUR, Needs.DATABASE, _forget)
