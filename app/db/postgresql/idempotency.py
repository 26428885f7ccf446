"""Idempotency keys: a transaction's advisory lock, ON CONFLICT with a condition, RETURNING."""

import hashlib
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, ColumnElement, Interval, bindparam, delete, func, select, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.db.clock import STATEMENT_TIME
from app.db.postgresql.batches import batch
from app.db.statements.tables import IDEMPOTENCY_KEYS
from app.models.idempotency import IdempotencyKey

# For the table rather than the model, and built once: building it for each request took 3 ms.
# What says which tasks the request created.
CREATED = ("task_id", "task_ids")
_LIFETIME = bindparam("lifetime", type_=Interval)
_ROW = [bindparam(name, type_=IDEMPOTENCY_KEYS.c[name].type) for name in ("user_id", "key", "fingerprint", *CREATED)]
_FREE = select(*_ROW, STATEMENT_TIME).where(func.pg_try_advisory_xact_lock(bindparam("lock", type_=BigInteger)))
_INSERT = insert(IDEMPOTENCY_KEYS).from_select([*(value.key for value in _ROW), "created_at"], _FREE)
_TAKE = _INSERT.on_conflict_do_update(
    index_elements=[IDEMPOTENCY_KEYS.c.user_id, IDEMPOTENCY_KEYS.c.key],
    set_={name: _INSERT.excluded[name] for name in ("fingerprint", *CREATED, "created_at")},
    where=IDEMPOTENCY_KEYS.c.created_at <= STATEMENT_TIME - _LIFETIME,
).returning(IDEMPOTENCY_KEYS.c.key)


def take_key(
    db: Session, user_id: UUID, key: str, fingerprint: bytes, created: Mapping[str, Any], *, lifetime: timedelta
) -> bool:
    """Record the key for what the request `created`, the columns of CREATED.

    Never waits: a lock that the transaction holds tells a key in use from a free one. Returns False where another
    transaction holds the key, or a younger record than `lifetime` has it.
    """
    values = {"user_id": user_id, "key": key, "fingerprint": fingerprint, **created}
    taken = db.execute(_TAKE, {**values, "lifetime": lifetime, "lock": _lock_number(user_id, key)})
    return taken.first() is not None


def delete_expired_keys(db: Session, expired: ColumnElement[bool], limit: int) -> int:
    """Delete a batch of the keys that `expired` matches. Returns how many."""
    identity = (IdempotencyKey.user_id, IdempotencyKey.key)
    old = batch(select(*identity).where(expired), limit)
    statement = delete(IdempotencyKey).where(tuple_(*identity).in_(old), expired).returning(IdempotencyKey.key)
    return len(db.execute(statement.execution_options(synchronize_session=False)).all())


def _lock_number(user_id: UUID, key: str) -> int:
    digest = hashlib.sha256(b"idempotency key " + user_id.bytes + key.encode()).digest()
    return int.from_bytes(digest[:8], signed=True)
