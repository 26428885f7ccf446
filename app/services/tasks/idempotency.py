"""Idempotency keys: a request that is repeated with its key returns the tasks of the first request.

The key is committed together with its tasks. A lock held until that commit distinguishes a key in use from a free one
(docs/adr/0011).
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from pydantic import BaseModel
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.session import transaction
from app.db.statements import submissions as keys
from app.ddl.clock import STATEMENT_TIME
from app.errors import (
    IdempotencyKeyInFlight,
    IdempotencyKeyReused,
    IdempotentTaskDeleted,
    LimitReached,
    QuotaExceeded,
    ReplayTooLarge,
    UniqueKeyTaken,
)
from app.models.task import IdempotencyKey
from app.schemas.task import TaskRead
from app.services.tasks import task_creation, task_queries
from app.services.tasks.new_rows import Created, NewTask

LIFETIME = timedelta(hours=24)
# A request takes milliseconds, so it has ended after this time unless its process or connection hangs.
RETRY_SECONDS = 1
# A new batch takes about as much as its request, and a kilobyte for each task. Its results may take a gigabyte.
MAX_REPLAY_BYTES = 8 * 1024 * 1024

_EXPIRED = IdempotencyKey.created_at <= STATEMENT_TIME - LIFETIME


class _KeyTaken(Exception):
    """Rolls the second task back; never leaves this module."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The accepted tasks of a request, in its order. `replayed`: an earlier request with the same key created them.

    Not `is_new`: one of them was there before this request, and had its `unique_key`.
    """

    tasks: list[TaskRead]
    replayed: bool = False
    is_new: bool = True

    @property
    def task(self) -> TaskRead:
        return self.tasks[0]

    @classmethod
    def of_created(cls, created: Sequence[Created]) -> "Accepted":
        """Read the tasks of a pipeline that has committed; while its session is open."""
        tasks = [TaskRead.model_validate(each.task) for each in created]
        return cls(tasks, is_new=all(each.is_new for each in created))


@dataclass(frozen=True, slots=True)
class _Keyed:
    """A request under a key: what it means, and the rows that it wants."""

    key: str
    rows: Sequence[NewTask]
    is_batch: bool

    @property
    def user_id(self) -> UUID:
        return self.rows[0].user_id

    @property
    def fingerprint(self) -> bytes:
        each = [fingerprint_of(row.wanted) for row in self.rows]
        return hashlib.sha256(b"batch " + b"".join(each)).digest() if self.is_batch else each[0]

    def created(self, ids: Sequence[UUID]) -> dict[str, Any]:
        """The columns that say which tasks were created."""
        if self.is_batch:
            return {"task_id": None, "task_ids": [str(task_id) for task_id in ids]}
        return {"task_id": ids[0], "task_ids": None}


def create_once(db: Session, rows: Sequence[NewTask], key: str, *, is_batch: bool = False) -> Accepted:
    """Create all tasks of a request for this key, or none, or return those that the key already has.

    A key expires after LIFETIME. Above a quota, only existing tasks are returned. Raises IdempotencyKeyReused,
    IdempotencyKeyInFlight, IdempotentTaskDeleted, QuotaExceeded, UniqueKeyTaken, and ReplayTooLarge where the tasks of
    the earlier request take more than MAX_REPLAY_BYTES now.
    """
    request = _Keyed(key, rows, is_batch)
    try:
        with task_creation.creating(db, rows, within_quota=True, permitted=True) as created:
            _take_key(db, request, [each.id for each in created])
        return Accepted.of_created(created)
    except _KeyTaken:
        with transaction(db):
            return _replayed(db, request)
    except (QuotaExceeded, UniqueKeyTaken, LimitReached):
        with transaction(db):
            if _find(db, request.user_id, request.key) is None:
                raise
            return _replayed(db, request)


def take_key_for(db: Session, user_id: UUID, key: str, fingerprint: bytes, ids: Sequence[UUID]) -> bool:
    """Record the key for what a request creates that is no task. False if another request has it."""
    created = {"task_id": None, "task_ids": [str(each) for each in ids]}
    return keys.take_idempotency_key(db, user_id, key, fingerprint, created, lifetime=LIFETIME)


def find_created(db: Session, user_id: UUID, key: str, fingerprint: bytes) -> list[UUID | None] | None:
    """Return the ids of what the request with this key created; None if no such request is committed.

    Raises IdempotencyKeyReused.
    """
    found = _find(db, user_id, key)
    if found is None:
        return None
    if found.fingerprint != fingerprint:
        raise IdempotencyKeyReused
    return [found.task_id] if found.task_ids is None else [UUID(text) for text in found.task_ids]


def fingerprint_of(wanted: BaseModel) -> bytes:
    """Return a SHA-256 digest of the request's meaning. Spacing, key order and explicit defaults do not change it.

    Defaults are left out also so that a release with a new field recognises requests of the release before it.
    """
    meaning = wanted.model_dump(exclude_defaults=True)
    return hashlib.sha256(json.dumps(meaning, sort_keys=True, default=str).encode()).digest()


def _take_key(db: Session, request: _Keyed, ids: Sequence[UUID]) -> None:
    created = request.created(ids)
    if not keys.take_idempotency_key(db, request.user_id, request.key, request.fingerprint, created, lifetime=LIFETIME):
        raise _KeyTaken


def _find(db: Session, user_id: UUID, key: str) -> IdempotencyKey | None:
    same = (IdempotencyKey.user_id == user_id, IdempotencyKey.key == key)
    return db.scalars(select(IdempotencyKey).where(*same, ~_EXPIRED)).one_or_none()


def _replayed(db: Session, request: _Keyed) -> Accepted:
    """Return the committed tasks of a key that is already taken."""
    ids = find_created(db, request.user_id, request.key, request.fingerprint)
    if ids is None:  # not yet committed, or rolled back
        raise IdempotencyKeyInFlight(retry_after=RETRY_SECONDS)
    if (
        len(ids) > 1
        and task_queries.bytes_of(db, [task_id for task_id in ids if task_id is not None]) > MAX_REPLAY_BYTES
    ):
        raise ReplayTooLarge
    tasks = task_queries.find_all(db, [task_id for task_id in ids if task_id is not None])
    if len(tasks) < len(ids):
        raise IdempotentTaskDeleted
    return Accepted([TaskRead.model_validate(task) for task in tasks], replayed=True)
