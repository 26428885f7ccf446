"""Deletes the bytes of what is dropped, then the rows: `python -m app.services.files.deletion`, a process of its own.

Maintenance starts it where the contents are in S3: its own process forks, and must not call obstore
(`app/storage.py`). A content that the storage does not delete is tried again later, and keeps no other.
"""

import sys
import time

from sqlalchemy.orm import Session

from app.db.session import SessionLocal, transaction
from app.db.statements import files
from app.errors import ServiceError
from app.storage import key_of, storage

BATCH = 200
# Of one run. A storage that does not answer takes ten seconds for each content.
RUN_SECONDS = 60.0


def delete_dropped(db: Session, limit: int = BATCH) -> ServiceError | None:
    """Delete all, for RUN_SECONDS. Returns the last error of what stays and is tried again later."""
    refused: ServiceError | None = None
    until = time.monotonic() + RUN_SECONDS
    while time.monotonic() < until and (ids := files.dropped(db, limit)):
        db.rollback()  # no transaction is idle while the storage works
        deleted, kept = [], []
        for each in ids:
            try:
                storage().delete([key_of(each)])
            except ServiceError as error:
                refused = error
                kept.append(each)
            else:
                deleted.append(each)
            if time.monotonic() >= until:
                break
        with transaction(db):
            files.forget(db, deleted)
            files.postpone(db, kept)
    db.rollback()
    return refused


def reason_of(error: ServiceError) -> str:
    """Return why the storage did not delete, in one line. The lines below it are how obstore writes its error."""
    lines = [line.strip() for line in str(error.__cause__ or "").splitlines()]
    return f"{error.code}: {next(filter(None, lines), error.detail)}"


def main() -> None:
    """Delete all. Exits with 1, and says why in the last line on stderr, where the storage refuses."""
    with SessionLocal() as db:
        error = delete_dropped(db)
    if error is not None:
        sys.exit(reason_of(error))


if __name__ == "__main__":
    main()
