"""Deletes the bytes of what is dropped, then the rows: `python -m app.services.files.deleting`, a process of its own.

Maintenance starts it, whose own process forks: such a one must not call the storage (`app/storage/store.py`).
"""

import sys
from uuid import UUID

from sqlalchemy.orm import Session

from app.db.session import SessionLocal, transaction
from app.db.statements import files
from app.errors import ServiceError
from app.storage.store import key_of, storage

BATCH = 200


def delete_dropped(db: Session, limit: int = BATCH) -> ServiceError | None:
    """Delete all. What cannot be deleted stays, and keeps nothing else: returns its error, the last one."""
    refused: ServiceError | None = None
    after: UUID | None = None
    while ids := files.dropped(db, limit, after):
        db.rollback()  # no transaction is idle while the storage works
        after, deleted = ids[-1], []
        for each in ids:
            try:
                storage().delete([key_of(each)])
            except ServiceError as error:
                refused = error
            else:
                deleted.append(each)
        with transaction(db):
            files.forget(db, deleted)
    db.rollback()
    return refused


def main() -> None:
    """Delete all. Exits with 1, and says why on stderr, where the storage refuses."""
    with SessionLocal() as db:
        error = delete_dropped(db)
    if error is not None:
        sys.exit(f"{error.code}: {error.__cause__ or error.detail}")


if __name__ == "__main__":
    main()
