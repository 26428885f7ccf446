"""Idempotency keys: a request that is repeated under its key is answered with the task that it has created.

The key is committed with its task. An advisory lock, held until that commit, tells a key in use from a free one
without waiting; why nothing else will do stands in docs/adr/0011.
"""

import hashlib
import json
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import BigInteger, bindparam, delete, func, select, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.catalogue import find_type
from app.db.base import Base
from app.db.batches import batch
from app.db.session import transaction
from app.errors import IdempotencyKeyInFlight, IdempotencyKeyReused, IdempotentTaskDeleted, QuotaExceeded
from app.models.idempotency import IdempotencyKey
from app.models.task import Task
from app.schemas.task import TaskCreate
from app.services.execution.transitions import STATEMENT_TIME
from app.services.task_service import task_service
from app.services.tasks.quotas import load_of, quotas
from app.services.tasks.task_queries import find

LIFETIME = timedelta(hours=24)
# What is in flight takes milliseconds: it is over by then, unless its process or its connection hangs.
RETRY_SECONDS = 1
PRUNE_BATCH = 1000

_OURS = (IdempotencyKey.user_id, IdempotencyKey.key)
# clock_timestamp() is volatile: no index would serve.
_EXPIRED = IdempotencyKey.created_at <= STATEMENT_TIME - LIFETIME

# Built once, and for the table rather than the model: 0.4 ms where building it for each request took 3.
_TABLE = Base.metadata.tables[IdempotencyKey.__tablename__]
_ROW = [bindparam(name, type_=_TABLE.c[name].type) for name in ("user_id", "key", "fingerprint", "task_id")]
_FREE = select(*_ROW, STATEMENT_TIME).where(func.pg_try_advisory_xact_lock(bindparam("lock", type_=BigInteger)))
_INSERT = insert(_TABLE).from_select([*(value.key for value in _ROW), "created_at"], _FREE)
_TAKE = _INSERT.on_conflict_do_update(
    index_elements=_OURS,
    set_={name: _INSERT.excluded[name] for name in ("fingerprint", "task_id", "created_at")},
    where=_EXPIRED,
).returning(_TABLE.c.key)


class _KeyTaken(Exception):
    """Rolls the second task back; never leaves this module."""


@dataclass(frozen=True)
class Accepted:
    """The answer to a request, and whether it was an earlier one that created the task."""

    task: Task
    replayed: bool = False


def create_once(db: Session, wanted: TaskCreate, user_id: UUID, key: str) -> Accepted:
    """A task for this key, or the one that it has already. The user's keys are their own, and new again after LIFETIME.

    Over a quota only what exists already is answered. Raises IdempotencyKeyReused, IdempotencyKeyInFlight,
    IdempotentTaskDeleted, QuotaExceeded, UnknownTask, InvalidArguments.
    """
    fingerprint = fingerprint_of(wanted)
    find_type(wanted.celery_task_name)  # before the first statement: see `task_creation.rows_of`
    try:
        with quotas.room(db, user_id, load_of([wanted])), transaction(db):
            (task,) = task_service.create_tasks(db, [wanted], user_id, commit=False)
            if not _take(db, user_id, key, fingerprint, task.id):
                raise _KeyTaken
            return Accepted(task)
    except _KeyTaken:
        with transaction(db):
            return Accepted(_first_task(db, user_id, key, fingerprint), replayed=True)
    except QuotaExceeded:
        with transaction(db):
            if _find(db, user_id, key) is None:
                raise
            return Accepted(_first_task(db, user_id, key, fingerprint), replayed=True)


def fingerprint_of(wanted: TaskCreate) -> bytes:
    """A digest of what the body means: neither its spacing, the order of its keys nor a default spelled out matter.

    Defaults are left out also because a release that adds a field must recognise what was sent before it.
    """
    meant = wanted.model_dump(exclude_defaults=True)
    return hashlib.sha256(json.dumps(meant, sort_keys=True, default=str).encode()).digest()


def prune(db: Session) -> int:
    """Delete the expired keys, in batches of a transaction each. Returns how many."""
    old = batch(select(*_OURS).where(_EXPIRED), PRUNE_BATCH)
    statement = delete(IdempotencyKey).where(tuple_(*_OURS).in_(old), _EXPIRED).returning(IdempotencyKey.key)
    total = 0
    while True:
        with transaction(db):
            deleted = len(db.execute(statement.execution_options(synchronize_session=False)).all())
        total += deleted
        if deleted < PRUNE_BATCH:
            return total


def _take(db: Session, user_id: UUID, key: str, fingerprint: bytes, task_id: UUID) -> bool:
    """Whether the key is this task's now: nobody holds it in flight, and it was free or has expired."""
    values = {"user_id": user_id, "key": key, "fingerprint": fingerprint, "task_id": task_id}
    return db.execute(_TAKE, {**values, "lock": _lock_number(user_id, key)}).first() is not None


def _find(db: Session, user_id: UUID, key: str) -> IdempotencyKey | None:
    return db.scalars(
        select(IdempotencyKey).where(IdempotencyKey.user_id == user_id, IdempotencyKey.key == key, ~_EXPIRED)
    ).one_or_none()


def _lock_number(user_id: UUID, key: str) -> int:
    digest = hashlib.sha256(b"idempotency key " + user_id.bytes + key.encode()).digest()
    return int.from_bytes(digest[:8], signed=True)


def _first_task(db: Session, user_id: UUID, key: str, fingerprint: bytes) -> Task:
    """The committed task of a key that could not be taken, as it stands now."""
    found = _find(db, user_id, key)
    if found is None:  # not committed yet, or rolled back since
        raise IdempotencyKeyInFlight(retry_after=RETRY_SECONDS)
    if found.fingerprint != fingerprint:
        problem = "Used before with another body"
        loc: list[str | int] = ["header", "Idempotency-Key"]
        raise IdempotencyKeyReused(errors=[{"loc": loc, "msg": problem, "type": IdempotencyKeyReused.code}])
    task = find(db, found.task_id) if found.task_id is not None else None
    if task is None:
        raise IdempotentTaskDeleted
    return task
