"""Limits: which there are, their change, and what of each is in use. Each function is one transaction."""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from app.core.config import get_settings
from app.core.validation_errors import PATTERNS, parsed
from app.db.session import transaction
from app.db.sql import limits
from app.db.statements import limit_places, reads
from app.db.statements.limit_places import TAKEN, UNCLAIMED, running_by_limit, starts_within_period
from app.db.statements.pending_rows import PENDING, is_held
from app.db.statements.tables import PLACES, TASKS
from app.db.transactions import after_commit
from app.ddl.clock import NOW
from app.ddl.terms import USER_LIMIT
from app.errors import InvalidLimit, LimitNotFound, LimitUsed
from app.models.limit import Limit, LimitEvent, OnExcess, Rate
from app.models.task import Held
from app.schemas.limit import LimitWrite
from app.schemas.values import LIMIT_NAME
from app.services import audit
from app.services.audit import Subject
from app.services.operations import admission


@dataclass
class LimitState:
    """A limit as `GET /limits/` shows it."""

    name: str
    concurrency: int | None
    concurrency_per_key: int | None
    rate: Rate | None
    rate_per_key: Rate | None
    on_excess: OnExcess
    running: int
    created_at: datetime
    updated_at: datetime


def list_limits(db: Session) -> list[LimitState]:
    """Return all limits, by name."""
    running = running_by_limit(db)
    found = db.scalars(select(Limit).order_by(Limit.name).execution_options(populate_existing=True))
    return [_state_of(limit, running.get(limit.name, 0)) for limit in found]


def get_limit(db: Session, name: str) -> LimitState:
    """Return one of them. Raises LimitNotFound."""
    found = db.get(Limit, name, populate_existing=True)
    if found is None:
        raise LimitNotFound
    return _state_of(found, limit_places.running(db, name))


def put_limit(db: Session, name: str, *, commit: bool = True, **bounds: Any) -> LimitState:
    """Make a limit, or replace its bounds: the fields of LimitWrite. What runs goes on. Raises InvalidLimit."""
    wanted = _parse(name, bounds)
    with transaction(db, commit=commit):
        limit = limits.lock_limit(db, name)
        if limit is None:
            limits.insert_missing(db, name)
            limit = limits.lock_limit(db, name)
            assert limit is not None
        limit.concurrency, limit.concurrency_per_key = wanted.concurrency, wanted.concurrency_per_key
        limit.on_excess = wanted.on_excess.value
        for field, rate in (("rate", wanted.rate), ("rate_per_key", wanted.rate_per_key)):
            setattr(limit, f"{field}_count", None if rate is None else rate.count)
            setattr(limit, f"{field}_period_seconds", None if rate is None else rate.period_seconds)
        limit.updated_at = NOW
        db.flush()
        audit.record(db, LimitEvent.SET, Subject("limit", name), actor=None, **_told(wanted))
        after_commit(db, lambda: admission.admit_soon({name: ()}))
        return get_limit(db, name)


def delete_limit(db: Session, name: str, *, commit: bool = True) -> None:
    """Delete a limit. Raises LimitNotFound, LimitUsed if a pending or running task names it."""
    with transaction(db, commit=commit):
        limit = limits.lock_limit(db, name, alone=True)
        if limit is None:
            raise LimitNotFound
        if limit_places.is_used(db, name):
            raise LimitUsed
        limits.forget_places(db, limit_places.of_limit(name))
        db.execute(delete(Limit).where(Limit.name == name).execution_options(synchronize_session=False))
        db.expunge(limit)
        audit.record(db, LimitEvent.DELETED, Subject("limit", name))


def _parse(name: str, fields: dict[str, Any]) -> LimitWrite:
    """Return the bounds. Raises InvalidLimit, which names the invalid fields."""
    if not re.fullmatch(LIMIT_NAME, name):
        raise InvalidLimit.at(["name"], PATTERNS[LIMIT_NAME], "string_pattern_mismatch")
    return parsed(LimitWrite, fields, InvalidLimit)


def _state_of(limit: Limit, running: int) -> LimitState:
    bounds = (limit.concurrency, limit.concurrency_per_key, limit.rate, limit.rate_per_key)
    return LimitState(limit.name, *bounds, OnExcess(limit.on_excess), running, limit.created_at, limit.updated_at)


def _told(wanted: LimitWrite) -> dict[str, str]:
    return {name: str(value) for name, value in wanted.model_dump(mode="json", exclude_none=True).items()}


# -- What of each limit is in use, by which keys, and what waits for it: as the page of limits shows it ----------------

# So many waiting tasks are counted, and so many running ones are looked at for their keys.
MOST_WAITING, MOST_PLACES = 10_000, 10_000
MOST_KEYS, TASKS_OF_KEY = 5, 3


@dataclass
class KeyUse:
    """The running tasks of one key of a limit: how many, and the first of them as rows of task_id and name."""

    key: str
    running: int
    tasks: Sequence[Any]


@dataclass
class LimitUse:
    """`waiting`: tasks whose time has come and that have no place. `starts`: those that its rate counts now."""

    waiting: int = 0
    starts: int = 0
    keys: list[KeyUse] = field(default_factory=list)


@dataclass(frozen=True)
class LimitUses:
    """By the limit's name. `is_cut`: more may wait than were counted."""

    of: dict[str, LimitUse]
    is_cut: bool


def limit_uses(db: Session, *, owner: UUID | None = None) -> LimitUses:
    """Return what is in use of the limits. With `owner` only that user's waiting tasks are counted, and no key is told.

    Has DATABASE_COSTLY_READ_SECONDS.
    """
    reads.limit_read(db, get_settings().costly_read_seconds)
    uses: dict[str, LimitUse] = defaultdict(LimitUse)
    waiting, is_cut = _waiting_by_limit(db, owner)
    for name, number in waiting.items():
        uses[name].waiting = number
    for name, number in _starts_by_limit(db).items():
        uses[name].starts = number
    if owner is None:
        for name, keys in _fullest_keys(db).items():
            uses[name].keys = keys
    return LimitUses(dict(uses), is_cut)


def _waiting_by_limit(db: Session, owner: UUID | None) -> tuple[Counter[str], bool]:
    """How many tasks of each limit wait, and whether there may be more: MOST_WAITING of one kind are counted."""
    of_owner = [] if owner is None else [TASKS.c.user_id == owner]
    found, is_cut = Counter[str](), False
    for held, more in ((Held.LIMIT, []), (Held.LIMIT_KEY, [TASKS.c.limit_key.is_not(None)])):
        # As the partial indexes of held tasks have them: no task that has a place is read.
        waits = (PENDING, TASKS.c.limit.is_not(None), TASKS.c.turn.is_not(None), is_held(held), *more, *of_owner)
        rows = select(TASKS.c.limit).where(*waits).limit(MOST_WAITING).subquery()
        numbers = Counter({
            name: int(number)
            for name, number in db.execute(select(rows.c.limit, func.count()).group_by(rows.c.limit))
        })  # fmt: skip
        is_cut = is_cut or numbers.total() == MOST_WAITING
        found += numbers
    return found, is_cut


def _starts_by_limit(db: Session) -> dict[str, int]:
    """How many starts the rate of each limit counts now."""
    place = PLACES.c
    rated = select(place.limit_name, func.count()).join(Limit, Limit.name == place.limit_name)
    counted = rated.where(Limit.rate_count.is_not(None), starts_within_period()).group_by(place.limit_name)
    return {name: int(number) for name, number in db.execute(counted)}


def _fullest_keys(db: Session) -> dict[str, list[KeyUse]]:
    """The fullest keys of each limit."""
    place = PLACES.c
    running = select(place.limit_name, place.limit_key, place.task_id, TASKS.c.name).where(
        TAKEN, ~UNCLAIMED, place.limit_key.is_not(None), place.limit_name != USER_LIMIT
    )
    # The task may have been deleted while its body runs.
    rows = running.outerjoin(TASKS, TASKS.c.id == place.task_id).order_by(place.started_at).limit(MOST_PLACES)
    found: dict[str, dict[str, list[Any]]] = defaultdict(lambda: defaultdict(list))
    for row in db.execute(rows):
        found[row.limit_name][row.limit_key].append(row)
    return {
        name: sorted(
            (KeyUse(key, len(of_key), of_key[:TASKS_OF_KEY]) for key, of_key in keys.items()),
            key=lambda use: (-use.running, use.key),
        )[:MOST_KEYS]
        for name, keys in found.items()
    }
