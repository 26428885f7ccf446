"""The queries of live events: each for all streams at once, each one round trip, none holding a transaction."""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from pydantic import BaseModel
from sqlalchemy import or_, select, true, union_all
from sqlalchemy.orm import Session

from app.core.ids import first_id_at
from app.db.listing import MAX_PAGE_BYTES
from app.db.session import SessionLocal, autocommit_engine
from app.db.sql import live
from app.db.statements import reads, task_rows, workflows
from app.ddl.clock import NOW
from app.live.feed import WAITING_BYTES
from app.live.streams import Piece, State
from app.models.auth import KEY_STANDS, LOGIN_STANDS, ApiKey, LoginSession
from app.models.task import SEQ_BITS, TERMINAL, Task, TaskOutput
from app.models.user import User
from app.schemas.task import TaskLogRead, TaskOutputRead
from app.schemas.workflow import WorkflowRead
from app.services.tasks import task_history, task_queries
from app.services.tasks.task_history import LogFilter, SoFar
from app.services.workflows import reading

# So much later than `updated_at` says may a change come to be seen: the service's transactions are shorter.
LATE = timedelta(seconds=5)
# A task's id holds the clock of the API process that made it.
_CLOCKS_DIFFER = timedelta(minutes=1)

# Log lines, or chunks of output, that are read at once.
PIECE_ITEMS = 500

# Whether this version of a task is news to anybody.
IsNews = Callable[[UUID, UUID, int], bool]


@dataclass(frozen=True, slots=True)
class Standing:
    """The role behind each credential that is still valid, by its id, and the database's time."""

    roles: dict[UUID, str]
    now: datetime


def _autocommit() -> Session:
    return SessionLocal(bind=autocommit_engine())


def read_state(task_id: UUID, owner: UUID | None, seen: int) -> Piece:
    """Return the task as `owner` may see it, without its event if this version was seen. Raises TaskNotFound."""
    with autocommit_engine().connect() as connection:
        piece = State.of(task_queries.snapshot(connection, task_id, owner)).piece()
    return _unless_seen(piece, seen)


def _unless_seen(piece: Piece, seen: int) -> Piece:
    return piece if piece.last != seen else piece._replace(events=b"")


_ROWS = task_rows.page_statement(
    [*task_queries.SHOWN, "attached_bytes"],
    [or_(reads.is_one_of(Task.__table__.c.id, "watched"), reads.is_one_of(Task.__table__.c.user_id, "users"))],
)


def read_rows(
    ids: Sequence[UUID],
    watched: Sequence[UUID],
    users: Sequence[UUID],
    is_news: IsNews,
    most_bytes: int = MAX_PAGE_BYTES,
) -> tuple[list[State], Sequence[UUID]]:
    """Return the rows of `ids` that are watched, by name or by their user, in the order of `ids`; and the ids left.

    Reads about `most_bytes`, one row at least. Rows that are news are rendered.
    """
    with _autocommit() as db:
        page = task_rows.page_rows(db, _ROWS, ids, most_bytes, {"watched": watched, "users": users})
    found = [_state(task_queries.as_shown(row), is_news) for row in page.rows]
    return found, ids[ids.index(found[-1].task_id) + 1 :] if page.is_cut else ()


def _state(row: dict[str, Any], is_news: IsNews) -> State:
    attached_bytes = row.pop("attached_bytes")
    return State.of(row, attached_bytes, rendered=is_news(row["id"], row["user_id"], row["version"]))


_SEEN_BY = select(Task.id).where(reads.is_one_of(Task.id, "ids"))


def visible_tasks(owner: UUID | None, ids: Collection[UUID]) -> list[UUID]:
    """Return the tasks of `ids` that `owner` may see: their own, or all where it is None."""
    wanted = _SEEN_BY if owner is None else _SEEN_BY.where(Task.user_id == owner)
    with autocommit_engine().connect() as db:
        return list(db.execute(wanted, {"ids": list(ids)}).scalars())


_VERSIONS = select(Task.id, Task.version, Task.attached_bytes).where(reads.is_one_of(Task.id, "ids"))


def read_versions(ids: Sequence[UUID]) -> dict[UUID, tuple[int, int]]:
    """Return the version of each task and the bytes that are kept with it. A task that is missing was deleted."""
    with autocommit_engine().connect() as db:
        return {row.id: (row.version, row.attached_bytes) for row in db.execute(_VERSIONS, {"ids": ids})}


# -- What is read piece by piece: log lines, output and workflows ------------------------------------------------------


def read_logs(task_id: UUID, owner: UUID | None, wanted: LogFilter, after: int) -> Piece:
    """Return the next log lines, as many as a stream keeps. Raises TaskNotFound."""
    read = partial(
        task_history.page_of_logs,
        task_id=task_id,
        wanted=wanted,
        limit=PIECE_ITEMS,
        after=after,
        most_bytes=WAITING_BYTES,
    )
    with _autocommit() as db:
        found = task_history.read_so_far(db, task_id, owner, read)
    last = found.items[-1].seq if found.items else after
    events = [_event(b"log", line.seq, TaskLogRead.model_validate(line)) for line in found.items]
    return Piece(b"".join(events), last, found.more, found.ended)


def _event(kind: bytes, number: int, shown: BaseModel) -> bytes:
    """Return a server-sent event. JSON escapes line breaks, so the data is one line."""
    data = shown.model_dump_json().encode("utf-8", "backslashreplace")
    return b"event: %b\nid: %d\ndata: %b\n\n" % (kind, number, data)


def read_output(task_id: UUID, owner: UUID | None, stream: str | None, after: int) -> Piece:
    """Return the next chunks of output, as many as a stream keeps, with a reset before each new attempt.

    Raises TaskNotFound.
    """
    read = partial(
        task_history.page_of_output,
        task_id=task_id,
        stream=stream,
        limit=PIECE_ITEMS,
        after=after,
        most_bytes=WAITING_BYTES,
    )
    with _autocommit() as db:
        return output_piece(task_history.read_so_far(db, task_id, owner, read), after)


def output_piece(found: SoFar[TaskOutput], after: int) -> Piece:
    """Return what follows number `after` of a task's output: its chunks, with a reset before each new attempt.

    The reset has the number before those of its attempt. Where nothing was emitted yet, a reader stands at that number
    too: the attempt after it is another one to them.
    """
    events, seen = list[bytes](), after >> SEQ_BITS
    for chunk in found.items:
        events += [*_reset(seen, chunk.attempt), _event(b"output", chunk.seq, TaskOutputRead.model_validate(chunk))]
        seen = chunk.attempt
    last = found.items[-1].seq if found.items else after
    if not found.more and found.attempt > seen:  # all of the attempts before it is read
        events += _reset(seen, found.attempt)
        last = found.attempt << SEQ_BITS
    return Piece(b"".join(events), last, found.more, found.ended)


def _reset(seen: int, attempt: int) -> list[bytes]:
    if not 0 < seen < attempt:
        return []
    return [b'event: reset\nid: %d\ndata: {"attempt":%d}\n\n' % (attempt << SEQ_BITS, attempt)]


def tasks_of_workflow(workflow_id: UUID, owner: UUID | None) -> list[UUID]:
    """Return the tasks of a workflow. Raises WorkflowNotFound."""
    with _autocommit() as db:
        return workflows.task_ids(db, [reading.find_workflow(db, workflow_id, owner).id])


def read_workflow(workflow_id: UUID, owner: UUID | None, seen: int) -> Piece:
    """Return the workflow as it is now, unless this version has been seen. Raises WorkflowNotFound.

    Streams of one workflow share what was read: it is a thousand tasks, and each of its streams asks for it.
    """
    now, key = time.monotonic(), (workflow_id, owner)
    read_at, piece = _read.get(key, (0.0, None))
    if piece is None or now - read_at > SHARED_SECONDS:
        with _autocommit() as db:
            shown = WorkflowRead.model_validate(reading.read_workflow(db, workflow_id, owner))
        event = _event(b"workflow", shown.version, shown)
        piece = Piece(event, shown.version, ended=shown.status in TERMINAL)
        _read[key] = now, piece
        for old in [each for each, (at, _) in list(_read.items()) if now - at > SHARED_SECONDS]:
            _read.pop(old, None)
    return _unless_seen(piece, seen)


# Between two states that a stream of a workflow sends.
PAUSE_SECONDS = 0.25
# Shorter than that pause, which begins with a change: what streams share is newer than the change.
SHARED_SECONDS = 0.2
_read: dict[tuple[UUID, UUID | None], tuple[float, Piece]] = {}


# -- The database's time, and what has changed lately ------------------------------------------------------------------


def database_time() -> datetime:
    with autocommit_engine().connect() as db:
        moment: datetime = db.execute(select(NOW)).scalar_one()
        return moment


def recent_tasks(users: Sequence[UUID], since: datetime) -> dict[UUID, tuple[UUID, int]]:
    """Return the tasks of these users that run, or ended or were created since: user and version by the task's id."""
    since_id = first_id_at((since - _CLOCKS_DIFFER).timestamp())
    with autocommit_engine().connect() as db:
        return {task_id: (user_id, version) for task_id, user_id, version in live.recent(db, users, since, since_id)}


def changed_since(user_id: UUID, since: datetime, limit: int) -> list[UUID]:
    """Return the tasks whose changes a stream has missed, in the order of the changes; at most `limit`.

    Complete for tasks that run or have ended since. Edited and again pending ones are found among the newest.
    """
    with autocommit_engine().connect() as db:
        return live.changed_since(db, user_id, since, limit)


# -- Which logins and API keys still stand -----------------------------------------------------------------------------

_SESSIONS = (
    select(LoginSession.id, User.role)
    .join(User, User.id == LoginSession.user_id)
    .where(LOGIN_STANDS, reads.is_one_of(LoginSession.id, "sessions"))
)
_KEYS = (
    select(ApiKey.id, User.role)
    .join(User, User.id == ApiKey.user_id)
    .where(KEY_STANDS, reads.is_one_of(ApiKey.id, "keys"))
)
_STANDING = union_all(_SESSIONS, _KEYS).subquery()
# The time comes along even where nothing else does.
_CLOCK = select(NOW.label("now")).subquery()
_STANDS = select(_CLOCK.c.now, _STANDING.c.id, _STANDING.c.role).select_from(_CLOCK).outerjoin(_STANDING, true())


def read_standing(sessions: Collection[UUID], keys: Collection[UUID]) -> Standing:
    """Return which of these logins and API keys are neither revoked nor expired, of active users."""
    with autocommit_engine().connect() as db:
        rows = db.execute(_STANDS, {"sessions": list(sessions), "keys": list(keys)}).all()
    return Standing({row.id: row.role for row in rows if row.id is not None}, rows[0].now)
