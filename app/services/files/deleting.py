"""Deletes the bytes of what is dropped, then the rows: `python -m app.services.files.deleting`, a process of its own.

Maintenance starts it, whose own process forks: such a one must not call the storage (`app/storage/store.py`).
"""

import sys

from sqlalchemy.orm import Session

from app.db.session import SessionLocal, transaction
from app.db.statements import files
from app.errors import ServiceError
from app.storage.store import key_of, storage

BATCH = 200


def delete_dropped(db: Session, limit: int = BATCH) -> int:
    """Delete at most `limit` contents. Returns how many. Raises StorageUnavailable; then their rows stay."""
    ids = files.dropped(db, limit)
    db.rollback()  # no transaction is idle while the storage works
    if ids:
        storage().delete([key_of(each) for each in ids])
        with transaction(db):
            files.forget(db, ids)
    return len(ids)


def main() -> None:
    """Delete all. Exits with 1, and says why on stderr, where the storage or the database is away."""
    with SessionLocal() as db:
        try:
            while delete_dropped(db) == BATCH:
                pass
        except ServiceError as error:
            sys.exit(f"{error.code}: {error.__cause__ or error.detail}")


if __name__ == "__main__":
    main()
