"""What is asked before tasks are inserted: whether the idempotency key is new, and what their user keeps.

A key is locked while it is looked up, and its row from there to the commit.
"""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.core.engines import POSTGRESQL, SQLITE
from app.db.outage import is_locked
from app.db.statements.expressions import octet_length, seconds_between
from app.db.statements.tables import FILES, IDEMPOTENCY_KEYS, STEPS, TASKS
from app.db.statements.writes import engine_name
from app.ddl.clock import NOW, STATEMENT_TIME, seconds
from app.ddl.columns import Id
from app.ddl.terms import task_bytes
from app.models.task import TaskStatus
from app.models.task_count import stored_bytes, task_count_changes
from app.models.webhook import WebhookDelivery


def take_idempotency_key(
    db: Session, user_id: UUID, key: str, fingerprint: bytes, created: Mapping[str, Any], *, lifetime: timedelta
) -> bool:
    """Record the key for what the request `created`, the columns `task_id` and `task_ids`.

    Never waits: an uncommitted row of another transaction is locked, and is met with NOWAIT. Returns False where
    another transaction holds the key, or a younger record than `lifetime` has it. On SQLite this transaction is the
    only one.
    """
    same = (IDEMPOTENCY_KEYS.c.user_id == user_id, IDEMPOTENCY_KEYS.c.key == key)
    found = sa.select(IDEMPOTENCY_KEYS.c.created_at <= STATEMENT_TIME - lifetime).where(*same)
    values = {"fingerprint": fingerprint, "created_at": STATEMENT_TIME, **created}
    with _lookup_of(db, user_id, key) as is_mine:
        if not is_mine:
            return False
        try:
            is_expired = db.execute(found.with_for_update(nowait=True)).scalar_one_or_none()
        except OperationalError as error:
            if not is_locked(error):
                raise
            return False
        if is_expired is None:
            db.execute(sa.insert(IDEMPOTENCY_KEYS).values(user_id=user_id, key=key, **values))
        elif is_expired:
            db.execute(sa.update(IDEMPOTENCY_KEYS).where(*same).values(values))
        return is_expired is not False


@contextmanager
def _lookup_of(db: Session, user_id: UUID, key: str) -> Iterator[bool]:
    """Whether no other transaction is between its look-up of this key and its INSERT, for which this one would wait.

    On PostgreSQL none that has looked the key up is uncommitted: an uncommitted row is not seen there.
    """
    engine = engine_name(db)
    if engine == SQLITE:
        yield True
        return
    if engine == POSTGRESQL:
        digest = hashlib.sha256(b"idempotency key " + user_id.bytes + key.encode()).digest()
        yield bool(db.scalar(sa.select(sa.func.pg_try_advisory_xact_lock(int.from_bytes(digest[:8], signed=True)))))
        return
    place = f"{db.connection().engine.url.database} idempotency key ".encode() + user_id.bytes + key.encode()
    name = hashlib.sha256(place).hexdigest()
    is_mine = db.scalar(sa.select(sa.func.get_lock(name, 0))) == 1
    try:
        yield is_mine
    finally:
        if is_mine:
            db.execute(sa.select(sa.func.release_lock(name)))


# -- What a user has queued, has submitted lately and keeps, counted up to where a quota is full -----------------------

_WITHOUT_SUMS: tuple[Any, ...] = (WebhookDelivery.__table__.c.bytes, STEPS.c.bytes, FILES.c.size)
_USER_ID = sa.bindparam("user_id", type_=Id)
_WINDOW = seconds(sa.bindparam("window", type_=sa.Float))


class QuotaUse(NamedTuple):
    """What was found.

    Queued tasks, bytes of their arguments, all their bytes; tasks of the last window, seconds until the oldest of them
    leaves it; bytes of what else the user keeps.
    """

    tasks: int
    bytes: int
    stored: int
    recent: int
    recent_seconds: float
    ended: int


def _queued(status: TaskStatus) -> sa.Select[*tuple[Any, ...]]:
    """By indexes that lead to this user's rows alone: at most `queued` rows of this status."""
    row = TASKS.c
    arguments = (octet_length(row.args) + octet_length(row.kwargs)).label("arguments")
    stored: sa.Label[int] = sa.literal_column(task_bytes(TASKS.name)).label("stored")
    found = sa.select(arguments, stored).where(row.user_id == _USER_ID, row.status == status.value)
    return sa.select(found.order_by(row.id.desc()).limit(sa.bindparam("queued", type_=sa.Integer)).subquery())


def _recent() -> sa.Select[*tuple[Any, ...]]:
    """No row of the last window has an id below `oldest`."""
    row = TASKS.c
    leaves_in = seconds_between(NOW, sa.func.min(row.created_at) + _WINDOW)
    found = sa.select(sa.func.count().label("tasks"), sa.func.coalesce(leaves_in, 0.0).label("seconds"))
    return found.where(
        row.user_id == _USER_ID, row.id > sa.bindparam("oldest", type_=Id), row.created_at > STATEMENT_TIME - _WINDOW
    )


def _quota_use(recent: sa.Select[*tuple[Any, ...]]) -> sa.Select[*tuple[Any, ...]]:
    active = sa.union_all(_queued(TaskStatus.PENDING), _queued(TaskStatus.RUNNING)).subquery()
    queued = sa.select(
        sa.func.count().label("tasks"),
        sa.func.coalesce(sa.func.sum(active.c.arguments), 0).label("bytes"),
        sa.func.coalesce(sa.func.sum(active.c.stored), 0).label("stored"),
    ).subquery()
    # What a user keeps besides: the sums of each kind, what is not added to them yet, and deliveries, steps and files,
    # which have no sums: few users have many, and an index has their bytes.
    kept = sa.union_all(
        *(sa.select(each.c.bytes).where(each.c.user_id == _USER_ID) for each in (stored_bytes, task_count_changes)),
        *(sa.select(each).where(each.table.c.user_id == _USER_ID) for each in _WITHOUT_SUMS),
    )
    ended = sa.select(sa.func.coalesce(sa.func.sum(kept.subquery().c.bytes), 0)).scalar_subquery()
    lately = recent.subquery()
    return sa.select(*queued.c, *lately.c, ended).join_from(queued, lately, sa.true())  # one row each


_RATED = _quota_use(_recent())
_NOTHING = sa.select(sa.literal(0).label("tasks"), sa.literal(0.0).label("seconds"))
_NOT_RATED = _quota_use(_NOTHING)


def read_quota_use(db: Session, *, user_id: UUID, queued: int, rated: bool, window: int, oldest: UUID) -> QuotaUse:
    """Read the user's load in one statement.

    `queued`: how many tasks of each unfinished status to read. `rated`: whether to count the tasks of the last `window`
    seconds, whose ids are above `oldest`.
    """
    values: dict[str, Any] = {"user_id": user_id, "queued": queued}
    if rated:
        values |= {"window": window, "oldest": oldest}
    tasks, arguments, stored, recent, recent_seconds, ended = db.execute(_RATED if rated else _NOT_RATED, values).one()
    # A sum is a Decimal, but on SQLite.
    return QuotaUse(tasks, int(arguments), int(stored), recent, float(recent_seconds), int(ended))
