"""Idempotency keys: a request that is repeated with its key returns what the first request has made.

The key is committed together with that. A lock held until the commit distinguishes a key in use from a free one
(docs/adr/0011). A request makes first and asks for the key in the same transaction; only where the key is taken, or the
request is refused, is it looked up what the key has made before.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Generic, TypeVar
from uuid import UUID

from pydantic import BaseModel
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.session import transaction
from app.db.statements import submissions as keys
from app.ddl.clock import STATEMENT_TIME
from app.errors import IdempotencyKeyInFlight, IdempotencyKeyReused, ServiceError
from app.models.task import IdempotencyKey

Made = TypeVar("Made")
Wanted = BaseModel | Sequence[BaseModel]
Take = Callable[[Sequence[UUID]], None]

LIFETIME = timedelta(hours=24)
# A request takes milliseconds, so it has ended after this time unless its process or connection hangs.
RETRY_SECONDS = 1

_EXPIRED = IdempotencyKey.created_at <= STATEMENT_TIME - LIFETIME


class _KeyTaken(Exception):
    """Rolls back what was made a second time; never leaves this module."""


@dataclass(frozen=True, slots=True)
class Accepted(Generic[Made]):
    """What a request has made. `replayed`: an earlier request with the same key has made it.

    Not `is_new`: some of it was there before this request, such as a task with its `unique_key`.
    """

    result: Made
    replayed: bool = False
    is_new: bool = True


def once(
    db: Session, user_id: UUID, key: str | None, wanted: Wanted, *, make: Callable[[Take], Accepted[Made]],
    find: Callable[[list[UUID]], Made | None], gone: type[ServiceError],
) -> Accepted[Made]:  # fmt: skip
    """Make what a request of this user wants, once for its key; or return what the key has made before, as it is now.

    `make` makes it in one transaction, in which it calls its argument with the ids of what it has made. `find` returns
    what has these ids, or None where some of it was deleted: then `gone` is raised. A key expires after LIFETIME. What
    refuses a new request, such as a quota, refuses no repeated one. Raises as `make` and `find` do,
    IdempotencyKeyReused, IdempotencyKeyInFlight; without a key it is `make` alone.
    """
    if key is None:
        return make(lambda _: None)
    fingerprint = fingerprint_of(wanted)

    def take(ids: Sequence[UUID]) -> None:
        made = {"task_id": None, "task_ids": [str(each) for each in ids]}
        if not keys.take_idempotency_key(db, user_id, key, fingerprint, made, lifetime=LIFETIME):
            raise _KeyTaken

    try:
        return make(take)
    except (_KeyTaken, ServiceError) as refusal:
        with transaction(db):
            same = (IdempotencyKey.user_id == user_id, IdempotencyKey.key == key)
            earlier = db.scalars(select(IdempotencyKey).where(*same, ~_EXPIRED)).one_or_none()
            if earlier is None:
                if isinstance(refusal, ServiceError):
                    raise
                raise IdempotencyKeyInFlight(retry_after=RETRY_SECONDS) from None  # not yet committed, or rolled back
            if earlier.fingerprint != fingerprint:
                raise IdempotencyKeyReused from None
            ids = [earlier.task_id] if earlier.task_id else list(map(UUID, earlier.task_ids or ()))
            found = find(ids) if ids else None
            if found is None:
                raise gone from None
            return Accepted(found, replayed=True)


def fingerprint_of(wanted: Wanted) -> bytes:
    """Return a SHA-256 digest of the request's meaning. Spacing, key order and explicit defaults do not change it.

    Defaults are left out also so that a release with a new field recognises requests of the release before it.
    """
    if not isinstance(wanted, BaseModel):
        return hashlib.sha256(b"batch " + b"".join(map(fingerprint_of, wanted))).digest()
    meaning = wanted.model_dump(exclude_defaults=True)
    return hashlib.sha256(json.dumps(meaning, sort_keys=True, default=str).encode()).digest()
