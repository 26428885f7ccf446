"""Failures in groups: which there are, and what their user says of them. Each function is one transaction."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, func, or_, select, update
from sqlalchemy.orm import Session

from app.core.config import get_settings
from app.db.page import Behind, Page, TimePosition, page_of
from app.db.session import transaction
from app.db.statements import error_groups as statements, reads
from app.ddl.clock import NOW, STATEMENT_TIME
from app.errors import ErrorGroupNotFound, InvalidInput
from app.models.error_group import ErrorEvent, ErrorGroup, ErrorState, error_times
from app.models.task_count import task_count_changes
from app.models.task_stats import begin_of_step
from app.services.audit import recording as audit
from app.services.audit.recording import Subject
from app.services.operations.error_adding import HOUR

SAMPLES = 5
HOURS_SHOWN = 24
EVENTS = {
    ErrorState.OPEN: ErrorEvent.REOPENED,
    ErrorState.RESOLVED: ErrorEvent.RESOLVED,
    ErrorState.IGNORED: ErrorEvent.IGNORED,
}


@dataclass
class ErrorGroupState:
    """A group as `GET /errors/` shows it."""

    fingerprint: str
    user_id: UUID
    celery_task_name: str
    error_type: str
    message: str | None
    count: int
    first_seen: datetime
    last_seen: datetime
    state: ErrorState
    ignored_until: datetime | None
    sample_task_ids: list[UUID] = field(default_factory=list)
    last_24h: list[int] = field(default_factory=lambda: [0] * HOURS_SHOWN)


@dataclass(frozen=True)
class ErrorFilter:
    """Which groups to list; None leaves a field out."""

    user_id: UUID | None = None
    state: ErrorState | None = None
    celery_task_name: str | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        found = [] if self.state is None else [_is_in(self.state)]
        names = ("user_id", "celery_task_name")
        given = {name: value for name in names if (value := getattr(self, name)) is not None}
        return [*found, *(getattr(ErrorGroup, name) == value for name, value in given.items())]


def list_error_groups(
    db: Session, wanted: ErrorFilter | None = None, limit: int = 50, cursor: str | None = None
) -> Page[ErrorGroupState, TimePosition]:
    """Return a page of groups of failures, the one that failed last first; without a filter those of all users.

    Has DATABASE_COSTLY_READ_SECONDS. Raises InvalidCursor.
    """
    reads.limit_read(db, get_settings().costly_read_seconds)
    statement = _select(*(wanted or ErrorFilter()).conditions())
    if cursor is not None:
        at, last = TimePosition.parse(cursor)
        statement = statement.where(Behind((ErrorGroup.last_seen, ErrorGroup.fingerprint), (at, last.hex)))
    order = (ErrorGroup.last_seen.desc(), ErrorGroup.fingerprint.desc())
    page = page_of(_groups(db, statement.order_by(*order).limit(limit + 1)), limit, position)
    _fill(db, page.items)
    return page


def recent_failures(db: Session, user_id: UUID | None = None) -> tuple[int, datetime]:
    """Return how many failures of groups that are not ignored there were since the begin of the last full hour.

    And that begin: failures are counted by the hour.
    """
    since = begin_of_step(db.execute(select(STATEMENT_TIME)).scalar_one(), HOUR) - timedelta(seconds=HOUR)
    times = error_times.c
    failures = select(func.sum(times.number)).join(ErrorGroup, ErrorGroup.fingerprint == times.fingerprint)
    found = failures.where(times.at >= since, ~_is_in(ErrorState.IGNORED), *_of(user_id))
    return int(db.execute(found).scalar_one() or 0), since


def position(group: ErrorGroupState) -> TimePosition:
    """Where a group stands in the list."""
    return TimePosition(group.last_seen, UUID(hex=group.fingerprint))


def get_error_group(db: Session, fingerprint: str, *, owner: UUID | None = None) -> ErrorGroupState:
    """Return one of them. Raises ErrorGroupNotFound."""
    groups = _groups(db, _select(ErrorGroup.fingerprint == fingerprint, *_of(owner)))
    if not groups:
        raise ErrorGroupNotFound
    _fill(db, groups)
    return groups[0]


def resolve_error_group(
    db: Session, fingerprint: str, *, owner: UUID | None = None, commit: bool = True
) -> ErrorGroupState:
    """Mark a group as resolved, until it fails again. Raises ErrorGroupNotFound."""
    with transaction(db, commit=commit):
        return _set_state(db, fingerprint, ErrorState.RESOLVED, owner)


def ignore_error_group(
    db: Session, fingerprint: str, until: datetime | None = None, *, owner: UUID | None = None, commit: bool = True
) -> ErrorGroupState:
    """Ignore a group until a time, or until it is reopened.

    Raises ErrorGroupNotFound, InvalidInput for a time that has passed.
    """
    with transaction(db, commit=commit):
        return _set_state(db, fingerprint, ErrorState.IGNORED, owner, until)


def reopen_error_group(
    db: Session, fingerprint: str, *, owner: UUID | None = None, commit: bool = True
) -> ErrorGroupState:
    """Reopen a resolved or ignored group. Raises ErrorGroupNotFound."""
    with transaction(db, commit=commit):
        return _set_state(db, fingerprint, ErrorState.OPEN, owner)


def _set_state(
    db: Session, fingerprint: str, to: ErrorState, owner: UUID | None, until: datetime | None = None
) -> ErrorGroupState:
    """Nothing is recorded where nothing changes."""
    before = get_error_group(db, fingerprint, owner=owner)
    if until is not None and until <= db.execute(select(STATEMENT_TIME)).scalar_one():
        error = {"loc": ["until"], "msg": "until must be later than now", "type": "until_is_past"}
        raise InvalidInput("until must be later than now", [error])  # type: ignore[list-item]
    if (before.state, before.ignored_until) == (to, until):
        return before
    values = {"state": to.value, "ignored_until": until, "state_set_at": NOW}
    statement = update(ErrorGroup).where(ErrorGroup.fingerprint == fingerprint)
    db.execute(statement.values(values).execution_options(synchronize_session=False))
    about = {"owner": str(before.user_id), "celery_task_name": before.celery_task_name}
    more = {} if until is None else {"until": until.isoformat()}
    audit.record(db, EVENTS[to], Subject("error", fingerprint), actor=None, **about, **more)
    return get_error_group(db, fingerprint, owner=owner)


def _of(owner: UUID | None) -> list[ColumnElement[bool]]:
    return [] if owner is None else [ErrorGroup.user_id == owner]


def _is_in(state: ErrorState) -> ColumnElement[bool]:
    until = ErrorGroup.ignored_until
    if state is ErrorState.RESOLVED:
        return ErrorGroup.state == state
    ignored = (ErrorGroup.state == ErrorState.IGNORED) & or_(until.is_(None), until > STATEMENT_TIME)
    return ignored if state is ErrorState.IGNORED else (ErrorGroup.state != ErrorState.RESOLVED) & ~ignored


def _select(*where: ColumnElement[bool]) -> Select[Any]:
    """The groups with their exact numbers: the sum and what is not folded yet, in one snapshot."""
    changes = task_count_changes.c
    new = select(changes.error, func.sum(changes.number).label("number")).where(changes.error.is_not(None))
    unfolded = new.group_by(changes.error).subquery()
    count = ErrorGroup.number + func.coalesce(unfolded.c.number, 0)
    joined = select(ErrorGroup, count, STATEMENT_TIME).outerjoin(unfolded, unfolded.c.error == ErrorGroup.fingerprint)
    return joined.where(*where).execution_options(populate_existing=True)


def _groups(db: Session, statement: Select[Any]) -> list[ErrorGroupState]:
    return [_state_of(group, int(count), now) for group, count, now in db.execute(statement)]


def _state_of(group: ErrorGroup, count: int, now: datetime) -> ErrorGroupState:
    state, until = ErrorState(group.state), group.ignored_until
    if until is not None and until <= now:
        state, until = ErrorState.OPEN, None
    about = (group.fingerprint, group.user_id, group.celery_task_name, group.error_type, group.message)
    return ErrorGroupState(*about, count, group.first_seen, group.last_seen, state, until)


def _fill(db: Session, groups: Sequence[ErrorGroupState]) -> None:
    """Add the newest tasks, and the failures of the last hours."""
    if not groups:
        return
    names = [group.fingerprint for group in groups]
    newest = statements.newest_tasks(db, names, SAMPLES)
    hour = begin_of_step(db.execute(select(STATEMENT_TIME)).scalar_one(), HOUR)
    first = hour - timedelta(seconds=HOUR * (HOURS_SHOWN - 1))
    times = error_times.c
    rows = select(times.fingerprint, times.at, times.number).where(times.fingerprint.in_(names), times.at >= first)
    by_name = {group.fingerprint: group for group in groups}
    for group in groups:
        group.sample_task_ids = newest[group.fingerprint]
    for fingerprint, at, number in db.execute(rows):
        by_name[fingerprint].last_24h[(at - first) // timedelta(seconds=HOUR)] = number
