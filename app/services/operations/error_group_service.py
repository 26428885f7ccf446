"""Failures in groups: which there are, what their user says of them, and how maintenance adds to them.

Each function is one transaction, but for `add_failures`.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, ClassVar
from uuid import UUID

from pydantic import Field
from sqlalchemy import ColumnElement, Select, case, func, or_, select, update
from sqlalchemy.orm import Session

from app.core.config import get_settings
from app.db.listing import WHOSE, Filter, Listing, Matches, Page, Whose
from app.db.session import transaction
from app.db.statements import error_groups as statements, reads
from app.db.statements.expressions import holds_text
from app.ddl.clock import NOW, STATEMENT_TIME
from app.errors import ErrorGroupNotFound, InvalidInput
from app.models.error_group import TIMES_KEPT, ErrorEvent, ErrorGroup, ErrorState, error_times
from app.models.task_count import Ended, task_count_changes
from app.models.task_stats import begin_of_step
from app.schemas.values import ShortText
from app.services import audit
from app.services.audit import Subject

SAMPLES = 5
HOURS_SHOWN = 24
# So many groups, those that failed last, are looked at where no index serves the search or the order.
LOOK = 10_000
EVENTS = {
    ErrorState.OPEN: ErrorEvent.REOPENED,
    ErrorState.RESOLVED: ErrorEvent.RESOLVED,
    ErrorState.IGNORED: ErrorEvent.IGNORED,
}


class ErrorSort(StrEnum):
    """What a list of groups is sorted by, falling."""

    LAST_SEEN = "last_seen"
    FIRST_SEEN = "first_seen"
    COUNT = "count"


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


def _is_in(state: ErrorState) -> ColumnElement[bool]:
    until = ErrorGroup.ignored_until
    if state is ErrorState.RESOLVED:
        return ErrorGroup.state == state
    ignored = (ErrorGroup.state == ErrorState.IGNORED) & or_(until.is_(None), until > STATEMENT_TIME)
    return ignored if state is ErrorState.IGNORED else (ErrorGroup.state != ErrorState.RESOLVED) & ~ignored


class ErrorFilter(Filter):
    """Which groups to list."""

    entity: ClassVar[Any] = ErrorGroup
    state: Annotated[ErrorState | None, Matches(_is_in)] = Field(None, description="Groups in this state.")
    celery_task_name: ShortText | None = Field(None, description="Groups of this task.")
    user_id: Whose = Field(None, description=WHOSE)


@dataclass(frozen=True)
class ErrorCounts:
    """How many groups there are in each state. `is_cut`: among the LOOK that failed last, and there may be more."""

    by_state: dict[ErrorState, int]
    is_cut: bool


def list_error_groups(
    db: Session,
    wanted: ErrorFilter | None = None,
    limit: int = 50,
    cursor: str | None = None,
    sort: str = ErrorSort.LAST_SEEN,
    text: str | None = None,
) -> Page[ErrorGroupState]:
    """Return a page of groups of failures, the one that failed last first; without a filter those of all users.

    `sort` is one of ErrorSort, `text` a part of the type, the message or the name of the task, ignoring case. In
    another order, or with a text, those among the LOOK that failed last. Has DATABASE_COSTLY_READ_SECONDS. Raises
    InvalidCursor, and ValueError for another order.
    """
    order = ErrorSort(sort)
    reads.limit_read(db, get_settings().costly_read_seconds)
    wanted = wanted or ErrorFilter()
    statement = _select(*wanted.conditions(), *_with_text(text))
    if text or order is not ErrorSort.LAST_SEEN:
        newest = select(ErrorGroup.fingerprint).where(*wanted.conditions()).order_by(*_NEWEST)
        looked_at = newest.limit(LOOK).subquery()
        statement = statement.join(looked_at, looked_at.c.fingerprint == ErrorGroup.fingerprint)
    page = LISTS[order].cut_page(_groups(db, LISTS[order].select_page(statement, limit, cursor)), limit)
    _fill(db, page.items)
    return page


def recent_failures(db: Session, user_id: UUID | None = None) -> tuple[int, datetime]:
    """Return how many failures of open groups there were since the begin of the last full hour.

    And that begin: failures are counted by the hour.
    """
    since = begin_of_step(db.execute(select(STATEMENT_TIME)).scalar_one(), HOUR) - timedelta(seconds=HOUR)
    times = error_times.c
    failures = select(func.sum(times.number)).join(ErrorGroup, ErrorGroup.fingerprint == times.fingerprint)
    found = failures.where(times.at >= since, _is_in(ErrorState.OPEN), *_of(user_id))
    return int(db.execute(found).scalar_one() or 0), since


def _with_text(text: str | None) -> list[ColumnElement[bool]]:
    """Return the condition that no index serves."""
    columns = (ErrorGroup.error_type, ErrorGroup.message, ErrorGroup.celery_task_name)
    return [or_(*(holds_text(column, text) for column in columns))] if text else []


def count_error_groups(db: Session, wanted: ErrorFilter, text: str | None = None) -> ErrorCounts:
    """Return how many groups of the filter, with this text, are in each state, whatever state the filter names."""
    reads.limit_read(db, get_settings().costly_read_seconds)
    matches = _with_text(text)
    states = (case((_is_in(state) & matches[0] if matches else _is_in(state), 1), else_=0) for state in ErrorState)
    named = [number.label(state.value) for number, state in zip(states, ErrorState, strict=True)]
    of_any = wanted.model_copy(update={"state": None}).conditions()
    rows = select(*named).where(*of_any).order_by(*_NEWEST).limit(LOOK).subquery()
    sums = (func.coalesce(func.sum(rows.c[state.value]), 0) for state in ErrorState)
    found = db.execute(select(func.count(), *sums).select_from(rows)).one()
    return ErrorCounts(dict(zip(ErrorState, map(int, found[1:]), strict=True)), is_cut=int(found[0]) == LOOK)


def failures_by_hour(db: Session, fingerprint: str, hours: int) -> tuple[datetime, list[int]]:
    """Return the begin of the first of these hours, and the failures of each: the last one is not over yet.

    Of a group that the caller may see. Hours are kept for TIMES_KEPT.
    """
    first = _hours_ago(db, hours)
    return first, _by_hour(db, [fingerprint], first, hours)[fingerprint]


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
    """Set the state of a group. Nothing is recorded where nothing changes."""
    before = get_error_group(db, fingerprint, owner=owner)
    if until is not None and until <= db.execute(select(STATEMENT_TIME)).scalar_one():
        message = "until must be later than now"
        raise InvalidInput.at(["until"], message, "until_is_past", message)
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


_changes = task_count_changes.c
_UNFOLDED = (
    select(_changes.error, func.sum(_changes.number).label("number"))
    .where(_changes.error.is_not(None))
    .group_by(_changes.error)
    .subquery()
)
# Exact: the sum and what is not folded yet, in one snapshot.
_COUNT = ErrorGroup.number + func.coalesce(_UNFOLDED.c.number, 0)
LISTS = {
    order: Listing(ErrorGroupState, by, ErrorGroup.fingerprint)
    for order, by in {
        ErrorSort.LAST_SEEN: ErrorGroup.last_seen,
        ErrorSort.FIRST_SEEN: ErrorGroup.first_seen,
        ErrorSort.COUNT: _COUNT.label("count"),
    }.items()
}
# By the failure that came last.
_NEWEST = (ErrorGroup.last_seen.desc(), ErrorGroup.fingerprint.desc())


def _select(*where: ColumnElement[bool]) -> Select[Any]:
    """Return the groups with their exact numbers."""
    found = select(ErrorGroup, _COUNT, STATEMENT_TIME).outerjoin(
        _UNFOLDED, _UNFOLDED.c.error == ErrorGroup.fingerprint
    )  # fmt: skip
    return found.where(*where).execution_options(populate_existing=True)


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
    hours = _by_hour(db, names, _hours_ago(db, HOURS_SHOWN), HOURS_SHOWN)
    for group in groups:
        group.sample_task_ids = newest.get(group.fingerprint, [])
        group.last_24h = hours[group.fingerprint]


def _hours_ago(db: Session, hours: int) -> datetime:
    """Return the begin of the first of so many hours, the last of which is not over yet."""
    hour = begin_of_step(db.execute(select(STATEMENT_TIME)).scalar_one(), HOUR)
    return hour - timedelta(seconds=HOUR * (hours - 1))


def _by_hour(db: Session, fingerprints: Sequence[str], first: datetime, hours: int) -> dict[str, list[int]]:
    """Without an hour to come: one may have begun since `first` was read, or the clock was put back."""
    times, end = error_times.c, first + timedelta(seconds=HOUR * hours)
    rows = select(times.fingerprint, times.at, times.number).where(
        times.fingerprint.in_(fingerprints), times.at >= first, times.at < end
    )
    found = {fingerprint: [0] * hours for fingerprint in fingerprints}
    for fingerprint, at, number in db.execute(rows):
        found[fingerprint][(at - first) // timedelta(seconds=HOUR)] = number
    return found


# -- What maintenance adds, in the transaction that adds up the counts: no change is lost ------------------------------

HOUR = 3600


def add_failures(db: Session, now: datetime, changes: Iterable[Ended]) -> None:
    """Make the groups of new failures, and add up what has become of failed tasks. The caller commits."""
    of_errors = [change for change in changes if change.error is not None]
    if not of_errors:
        return
    users = statements.keep_users(db, sorted({change.user_id for change in of_errors}))
    by_error: dict[str, list[Ended]] = {}
    for change in of_errors:
        if change.error is not None and change.user_id in users:
            by_error.setdefault(change.error, []).append(change)
    failures: list[dict[str, Any]] = []
    moves: list[dict[str, Any]] = []
    times = Counter[tuple[str, datetime]]()
    for error in sorted(by_error):
        group = _group_of_changes(now, error, by_error[error])
        (failures if any(change.ends for change in by_error[error]) else moves).append(group)
        for change in by_error[error]:
            if change.at is not None and change.at > now - TIMES_KEPT:
                times[error, begin_of_step(change.at, HOUR)] += change.ends
    statements.add_failures(db, failures)
    statements.add_moves(db, moves)
    rows = [{"fingerprint": error, "at": at, "number": number} for (error, at), number in sorted(times.items())]
    statements.add_times(db, rows)


def _group_of_changes(now: datetime, error: str, changes: Sequence[Ended]) -> dict[str, Any]:
    ends = [change for change in changes if change.last_end is not None]
    newest = max(ends, key=_last_end, default=changes[0])
    return {
        "fingerprint": error,
        "user_id": newest.user_id,
        "celery_task_name": newest.celery_task_name,
        "error_type": newest.error_type or "",
        "message": newest.error_message,
        "first_seen": min((change.first_end for change in ends if change.first_end), default=now),
        "last_seen": newest.last_end or now,
        "count": sum(change.number for change in changes),
    }


def _last_end(change: Ended) -> datetime:
    assert change.last_end is not None
    return change.last_end
