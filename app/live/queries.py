"""What live events ask the database: each for all streams at once, each one round trip, none holding a transaction."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Select,
    any_,
    bindparam,
    func,
    literal_column,
    or_,
    select,
    union_all,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session
from sqlalchemy.types import Uuid

from app.db.base import UTCDateTime
from app.db.session import SessionLocal, autocommit_engine
from app.live.frames import Frame
from app.models.api_key import ApiKey
from app.models.login import LoginSession
from app.models.task import Task, TaskStatus
from app.models.user import User
from app.services.tasks import task_queries

# So much later than `updated_at` says may a change come to be seen: the transactions of ours are shorter.
LATE = timedelta(seconds=5)
# Of each of a user's lists so many rows are looked at, however many there are.
NEWEST = 2000
# A task's id holds the clock of the API process that made it.
_CLOCKS_DIFFER = timedelta(minutes=1)
_NOW = func.clock_timestamp()

# Whether this version of a task is news to anybody.
IsNews = Callable[[UUID, UUID, int], bool]


@dataclass(frozen=True, slots=True)
class Found:
    """A row that was read. `frame` where it is news to a stream; who merely waits needs none."""

    task_id: UUID
    user_id: UUID
    version: int
    ended: bool
    frame: Frame | None


@dataclass(frozen=True, slots=True)
class Standing:
    """Of the credentials that were asked about: the role behind each that still stands, and the database's time."""

    roles: dict[UUID, str]
    now: datetime


def _autocommit() -> Session:
    return SessionLocal(bind=autocommit_engine())


def _ids(name: str) -> Any:
    """An array and not IN: one statement for any number of ids."""
    return any_(bindparam(name, type_=ARRAY(Uuid)))


def read(task_id: UUID, owner: UUID | None) -> Found:
    """One task as `owner` may see it. Raises TaskNotFound."""
    with _autocommit() as db:
        return _found(task_queries.read(db, task_id, owner), lambda *_: True)


_ROWS = select(Task).where(Task.id == _ids("ids"), or_(Task.id == _ids("watched"), Task.user_id == _ids("users")))


def read_rows(ids: Sequence[UUID], watched: Sequence[UUID], users: Sequence[UUID], is_news: IsNews) -> list[Found]:
    """Those of `ids` that are watched by name or by their user; rendered where they are news."""
    with _autocommit() as db:
        rows = db.scalars(_ROWS, {"ids": ids, "watched": watched, "users": users})
        return [_found(task, is_news) for task in rows]


def _found(task: Task, is_news: IsNews) -> Found:
    news = is_news(task.id, task.user_id, task.version)
    return Found(task.id, task.user_id, task.version, task.has_ended, Frame.of(task) if news else None)


_VERSIONS = select(Task.id, Task.version).where(Task.id == _ids("ids"))


def versions(ids: Sequence[UUID]) -> dict[UUID, int]:
    """Where these tasks stand; who is missing is gone."""
    with autocommit_engine().connect() as db:
        return {row.id: row.version for row in db.execute(_VERSIONS, {"ids": ids})}


def now() -> datetime:
    with autocommit_engine().connect() as db:
        moment: datetime = db.execute(select(_NOW)).scalar_one()
        return moment


_SINCE = bindparam("since", type_=UTCDateTime)
_COLUMNS = (Task.id, Task.user_id, Task.version, Task.updated_at)
_ENDED = select(*_COLUMNS).where(Task.user_id == _ids("users"), Task.finished_at > _SINCE)
_RUNNING = select(*_COLUMNS).where(
    Task.user_id == _ids("users"), Task.status == TaskStatus.RUNNING.value, Task.updated_at > _SINCE
)


def _newest(user_id: Any, *where: ColumnElement[bool]) -> Select[UUID, UUID, int, datetime]:
    """A user's newest tasks, from the indexes that the pages of the list use."""
    return select(*_COLUMNS).where(Task.user_id == user_id, *where).order_by(Task.id.desc()).limit(NEWEST)


_WATCHING = func.unnest(bindparam("users", type_=ARRAY(Uuid))).table_valued("id", name="watching").render_derived()


def _newest_of_each(*where: ColumnElement[bool]) -> Select[Any]:
    rows = _newest(_WATCHING.c.id, *where).lateral()
    return select(rows).select_from(_WATCHING).join(rows, literal_column("true"))


_RECENT = union_all(_ENDED, _RUNNING, _newest_of_each(Task.id > bindparam("since_id", type_=Uuid))).subquery()
# The pending ones by name and not from an array: PostgreSQL then knows how many the user has, and which way is short.
_PENDING = _newest(bindparam("user", type_=Uuid), Task.status == TaskStatus.PENDING.value).subquery()
_CHANGED = union_all(_ENDED, _RUNNING, _newest_of_each(), select(_PENDING)).subquery()


def recent(users: Sequence[UUID], since: datetime) -> dict[UUID, tuple[UUID, int]]:
    """What has ended, runs, or was created since then, of these users: each with its user and version.

    By indexes that are there anyway; one on `updated_at` would have every report of progress write all of them.
    """
    statement = select(_RECENT.c.id, _RECENT.c.user_id, _RECENT.c.version).where(_RECENT.c.updated_at > _SINCE)
    parameters = {"users": users, "since": since, "since_id": _id_of(since - _CLOCKS_DIFFER)}
    with autocommit_engine().connect() as db:
        return {row.id: (row.user_id, row.version) for row in db.execute(statement, parameters)}


def changed_since(user_id: UUID, since: datetime, limit: int) -> list[UUID]:
    """What a stream has missed, in the order of the changes; at most `limit`.

    Complete for what runs or has ended since; what was merely edited, or is pending again, is found among the newest.
    """
    rows = _CHANGED.c
    last = func.max(rows.updated_at)
    statement = select(rows.id).where(rows.updated_at > _SINCE).group_by(rows.id).order_by(last).limit(limit)
    with autocommit_engine().connect() as db:
        return list(db.scalars(statement, {"users": [user_id], "user": user_id, "since": since}))


def _id_of(moment: datetime) -> UUID:
    """The lowest UUIDv7 of this moment."""
    return UUID(int=int(moment.timestamp() * 1000) << 80)


_SESSIONS = (
    select(LoginSession.id, User.role)
    .join(User, User.id == LoginSession.user_id)
    .where(
        LoginSession.id == _ids("sessions"),
        LoginSession.revoked_at.is_(None),
        LoginSession.expires_at > _NOW,
        User.is_active,
    )
)
_KEYS = (
    select(ApiKey.id, User.role)
    .join(User, User.id == ApiKey.user_id)
    .where(
        ApiKey.id == _ids("keys"),
        ApiKey.revoked_at.is_(None),
        or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > _NOW),
        User.is_active,
    )
)
_STANDING = union_all(_SESSIONS, _KEYS).subquery()
# The time comes along even where nothing else does.
_CLOCK = select(_NOW.label("now")).subquery()
_STANDS = (
    select(_CLOCK.c.now, _STANDING.c.id, _STANDING.c.role)
    .select_from(_CLOCK)
    .outerjoin(_STANDING, literal_column("true"))
)


def standing(sessions: Collection[UUID], keys: Collection[UUID]) -> Standing:
    """Which of these logins and API keys are neither revoked nor over, of active users."""
    with autocommit_engine().connect() as db:
        rows = db.execute(_STANDS, {"sessions": list(sessions), "keys": list(keys)}).all()
    return Standing({row.id: row.role for row in rows if row.id is not None}, rows[0].now)
