"""Limits: which there are, and their change. Each function is one transaction."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.core.validation_errors import PATTERNS, parsed
from app.db.after_commit import after_commit
from app.db.session import transaction
from app.db.sql import limits
from app.db.statements import limit_places
from app.db.statements.limit_places import running_by_limit
from app.ddl.clock import NOW
from app.errors import InvalidLimit, LimitNotFound, LimitUsed
from app.models.limit import Limit, LimitEvent, OnExcess, Rate
from app.schemas.json_value import LIMIT_NAME
from app.schemas.limit import LimitWrite
from app.services.audit import recording as audit
from app.services.audit.recording import Subject
from app.services.operations import admitter


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
        limit = limits.lock(db, name)
        if limit is None:
            limits.insert_missing(db, name)
            limit = limits.lock(db, name)
            assert limit is not None
        limit.concurrency, limit.concurrency_per_key = wanted.concurrency, wanted.concurrency_per_key
        limit.on_excess = wanted.on_excess.value
        for field, rate in (("rate", wanted.rate), ("rate_per_key", wanted.rate_per_key)):
            setattr(limit, f"{field}_count", None if rate is None else rate.count)
            setattr(limit, f"{field}_period_seconds", None if rate is None else rate.period_seconds)
        limit.updated_at = NOW
        db.flush()
        audit.record(db, LimitEvent.SET, Subject("limit", name), actor=None, **_told(wanted))
        after_commit(db, lambda: admitter.admit_soon({name: ()}))
        return get_limit(db, name)


def delete_limit(db: Session, name: str, *, commit: bool = True) -> None:
    """Delete a limit. Raises LimitNotFound, LimitUsed if a pending or running task names it."""
    with transaction(db, commit=commit):
        limit = limits.lock(db, name, alone=True)
        if limit is None:
            raise LimitNotFound
        if limit_places.is_used(db, name):
            raise LimitUsed
        limits.forget_places(db, name)
        db.execute(delete(Limit).where(Limit.name == name).execution_options(synchronize_session=False))
        db.expunge(limit)
        audit.record(db, LimitEvent.DELETED, Subject("limit", name))


def _parse(name: str, fields: dict[str, Any]) -> LimitWrite:
    """Return the bounds. Raises InvalidLimit, which names the invalid fields."""
    if not re.fullmatch(LIMIT_NAME, name):
        error = {"loc": ["name"], "msg": PATTERNS[LIMIT_NAME], "type": "string_pattern_mismatch"}
        raise InvalidLimit(errors=[error])  # type: ignore[list-item]
    return parsed(LimitWrite, fields, InvalidLimit)


def _state_of(limit: Limit, running: int) -> LimitState:
    bounds = (limit.concurrency, limit.concurrency_per_key, limit.rate, limit.rate_per_key)
    return LimitState(limit.name, *bounds, OnExcess(limit.on_excess), running, limit.created_at, limit.updated_at)


def _told(wanted: LimitWrite) -> dict[str, str]:
    return {name: str(value) for name, value in wanted.model_dump(mode="json", exclude_none=True).items()}
