"""Idempotency keys: a lock while a key is looked up, and the lock of its row from there to the commit."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, func, insert, select, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.core.engines import POSTGRESQL, SQLITE
from app.db.outage import is_locked
from app.db.statements.batches import delete_batch
from app.db.statements.tables import IDEMPOTENCY_KEYS
from app.db.statements.upserting import engine_name
from app.ddl.clock import STATEMENT_TIME
from app.models.task import IdempotencyKey


def take_key(
    db: Session, user_id: UUID, key: str, fingerprint: bytes, created: Mapping[str, Any], *, lifetime: timedelta
) -> bool:
    """Record the key for what the request `created`, the columns `task_id` and `task_ids`.

    Never waits: an uncommitted row of another transaction is locked, and is met with NOWAIT. Returns False where
    another transaction holds the key, or a younger record than `lifetime` has it. On SQLite this transaction is the
    only one.
    """
    same = (IDEMPOTENCY_KEYS.c.user_id == user_id, IDEMPOTENCY_KEYS.c.key == key)
    found = select(IDEMPOTENCY_KEYS.c.created_at <= STATEMENT_TIME - lifetime).where(*same)
    values = {"fingerprint": fingerprint, "created_at": STATEMENT_TIME, **created}
    with _looking_up(db, user_id, key) as is_mine:
        if not is_mine:
            return False
        try:
            is_expired = db.execute(found.with_for_update(nowait=True)).scalar_one_or_none()
        except OperationalError as error:
            if not is_locked(error):
                raise
            return False
        if is_expired is None:
            db.execute(insert(IDEMPOTENCY_KEYS).values(user_id=user_id, key=key, **values))
        elif is_expired:
            db.execute(update(IDEMPOTENCY_KEYS).where(*same).values(values))
        return is_expired is not False


@contextmanager
def _looking_up(db: Session, user_id: UUID, key: str) -> Iterator[bool]:
    """Whether no other transaction is between its look-up of this key and its INSERT, for which this one would wait.

    On PostgreSQL none that has looked the key up is uncommitted: an uncommitted row is not seen there.
    """
    engine = engine_name(db)
    if engine == SQLITE:
        yield True
        return
    if engine == POSTGRESQL:
        digest = hashlib.sha256(b"idempotency key " + user_id.bytes + key.encode()).digest()
        yield bool(db.scalar(select(func.pg_try_advisory_xact_lock(int.from_bytes(digest[:8], signed=True)))))
        return
    place = f"{db.connection().engine.url.database} idempotency key ".encode() + user_id.bytes + key.encode()
    name = hashlib.sha256(place).hexdigest()
    is_mine = db.scalar(select(func.get_lock(name, 0))) == 1
    try:
        yield is_mine
    finally:
        if is_mine:
            db.execute(select(func.release_lock(name)))


def delete_expired_keys(db: Session, expired: ColumnElement[bool], limit: int) -> int:
    """Delete a batch of the keys that `expired` matches. Returns how many."""
    return delete_batch(db, IdempotencyKey, expired, limit=limit, guard=expired)
