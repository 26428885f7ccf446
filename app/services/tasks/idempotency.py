"""Idempotency keys: a request that is repeated with its key returns the task of the first request.

The key is committed together with its task. A lock held until that commit distinguishes a key in use from a free one
(docs/adr/0011).
"""

import hashlib
import json
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.clock import STATEMENT_TIME
from app.db.postgresql import idempotency as keys
from app.db.session import transaction
from app.errors import IdempotencyKeyInFlight, IdempotencyKeyReused, IdempotentTaskDeleted, QuotaExceeded
from app.models.idempotency import IdempotencyKey
from app.schemas.task import TaskCreate, TaskRead
from app.services.tasks import task_creation
from app.services.tasks.load import load_of
from app.services.tasks.quotas import quotas
from app.services.tasks.task_queries import find

LIFETIME = timedelta(hours=24)
# A request takes milliseconds, so it has ended after this time unless its process or connection hangs.
RETRY_SECONDS = 1
PRUNE_BATCH = 1000

_EXPIRED = IdempotencyKey.created_at <= STATEMENT_TIME - LIFETIME


class _KeyTaken(Exception):
    """Rolls the second task back; never leaves this module."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """An accepted task. `replayed`: an earlier request with the same key created it."""

    task: TaskRead
    replayed: bool = False


def create_once(db: Session, wanted: TaskCreate, user_id: UUID, key: str) -> Accepted:
    """Create a task for this key, or return the task that the key already has. A key expires after LIFETIME.

    Above a quota, only an existing task is returned. Raises IdempotencyKeyReused, IdempotencyKeyInFlight,
    IdempotentTaskDeleted, QuotaExceeded, UnknownTask, InvalidArguments.
    """
    fingerprint = fingerprint_of(wanted)
    rows = task_creation.rows_of([wanted], user_id)
    try:
        with quotas.reserved(db, user_id, load_of([wanted])), transaction(db):
            (task,) = task_creation.accept(db, rows)
            if not keys.take_key(db, user_id, key, fingerprint, task["id"], lifetime=LIFETIME):
                raise _KeyTaken
            return Accepted(TaskRead.model_validate(task))
    except _KeyTaken:
        with transaction(db):
            return _replayed(db, user_id, key, fingerprint)
    except QuotaExceeded:
        with transaction(db):
            if _find(db, user_id, key) is None:
                raise
            return _replayed(db, user_id, key, fingerprint)


def fingerprint_of(wanted: TaskCreate) -> bytes:
    """Return a SHA-256 digest of the request's meaning. Spacing, key order and explicit defaults do not change it.

    Defaults are left out also so that a release with a new field recognises requests of the release before it.
    """
    meaning = wanted.model_dump(exclude_defaults=True)
    return hashlib.sha256(json.dumps(meaning, sort_keys=True, default=str).encode()).digest()


def prune(db: Session) -> int:
    """Delete expired keys, one transaction for each batch. Returns their number."""
    total = 0
    while True:
        with transaction(db):
            deleted = keys.delete_expired_keys(db, _EXPIRED, PRUNE_BATCH)
        total += deleted
        if deleted < PRUNE_BATCH:
            return total


def _find(db: Session, user_id: UUID, key: str) -> IdempotencyKey | None:
    return db.scalars(
        select(IdempotencyKey).where(IdempotencyKey.user_id == user_id, IdempotencyKey.key == key, ~_EXPIRED)
    ).one_or_none()


def _replayed(db: Session, user_id: UUID, key: str, fingerprint: bytes) -> Accepted:
    """Return the committed task of a key that is already taken."""
    found = _find(db, user_id, key)
    if found is None:  # not yet committed, or rolled back
        raise IdempotencyKeyInFlight(retry_after=RETRY_SECONDS)
    if found.fingerprint != fingerprint:
        raise IdempotencyKeyReused
    task = find(db, found.task_id) if found.task_id is not None else None
    if task is None:
        raise IdempotentTaskDeleted
    return Accepted(TaskRead.model_validate(task), replayed=True)
