"""Unique keys: of a user's pending and running tasks, one at most has a key.

A unique index over `tasks.active_key` holds this, whoever writes. This module decides what becomes of a request whose
key is taken. Where another transaction is faster than what was decided, the index or the version of a task tells it,
and all of it is done again.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import bindparam, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.db.outage import UNIQUE_VIOLATION, sqlstate
from app.db.statements import conditions
from app.ddl.indexes import UNIQUE_KEY
from app.errors import KeptTasksTooLarge, UniqueKeyTaken
from app.models.outbox import ConsumerNumber
from app.models.task import OnConflict, Task, TaskStatus
from app.services.outbox import add_followers
from app.services.tasks import task_queries
from app.services.tasks.load import NOTHING, Load, sum_of
from app.services.tasks.new_rows import Created, NewTask
from app.services.tasks.task_replacing import added_load, replace

# Each try fails only if another transaction took or gave up one of the keys in between.
TRIES = 10
# As for a repeated batch: the tasks that have the keys may hold a thousand times the largest arguments.
MAX_KEPT_BYTES = 8 * 1024 * 1024

# MySQL names the index, SQLite the columns. The values that MySQL tells before it are the user's.
_OF_MYSQL, _OF_SQLITE = f"{UNIQUE_KEY}'", f"{Task.__tablename__}.user_id, {Task.__tablename__}.active_key"

_FASTER = "Other requests with the same unique_key were faster: try again"


class _Overtaken(Exception):
    """Another transaction was faster. Rolls back, and never leaves this module."""


class HasKey(Protocol):
    """A task, or what is known of its row."""

    @property
    def user_id(self) -> UUID: ...

    @property
    def unique_key(self) -> str | None: ...


@dataclass(slots=True)
class _Wanted:
    """What a request wants under one key; the numbers are places in the request.

    A batch counts as requests that come one after the other.
    """

    first: int
    # What stands in the row if it is new, and what replaces the task that has the key.
    new: int
    replacement: int | None


@dataclass(slots=True)
class Keyed:
    """What becomes of the rows of a request: those that are new, those that replace a task, and what they add."""

    new: Sequence[NewTask]
    # By their ids, tasks as they were read, and the rows that say what becomes of them.
    replacing: dict[UUID, tuple[Task, NewTask]] = field(default_factory=dict)
    # The tasks that have the keys of rows: their ids, and what `read_kept` has found, by the key.
    held: dict[str, UUID] = field(default_factory=dict)
    kept: dict[str, Task] = field(default_factory=dict)
    # Of these tasks, what is to follow them besides (`tasks.followers`).
    followers: dict[UUID, int] = field(default_factory=dict)
    # Those for which the request has new tasks with a limit before the row with the key: the place of that row.
    behind_limits: dict[UUID, int] = field(default_factory=dict)
    growth: Load = NOTHING

    @property
    def load(self) -> Load:
        """What is added to the quotas."""
        return sum_of(row.load for row in self.new) + self.growth

    def apply(self, to_row: Callable[[NewTask], NewTask]) -> None:
        """Replace the rows that will be written by what `to_row` makes of them."""
        self.new = [to_row(row) for row in self.new]
        self.replacing = {task_id: (task, to_row(row)) for task_id, (task, row) in self.replacing.items()}

    def rows_by_id(self) -> list[tuple[UUID, NewTask]]:
        """The rows that are written, each with the id of its task."""
        replaced = [(task_id, row) for task_id, (_, row) in self.replacing.items()]
        return [*((row.id, row) for row in self.new), *replaced]

    def change_held(self, db: Session) -> None:
        """Write what the request says of the tasks that have the keys. The quota, which counts that, comes before."""
        # In the order of the keys, as all requests: two with the same keys wait for each other, and do not deadlock.
        for key in sorted(self.held):
            task_id = self.held[key]
            if task_id in self.replacing and not replace(db, *self.replacing[task_id]):
                raise _Overtaken
            if task_id in self.followers:
                add_followers(db, self.followers[task_id], Task.id == task_id)

    def read_kept(self, db: Session, *, bounded: bool, cancelled: Collection[UUID]) -> None:
        """Read the tasks that had the keys, as they are now; the request itself has `cancelled` these.

        `bounded`: raises KeptTasksTooLarge where they hold more than MAX_KEPT_BYTES. Raises UniqueKeyTaken for one that
        an earlier row of the request has cancelled.
        """
        for task_id, at in self.behind_limits.items():
            if task_id in cancelled:
                why = "is cancelled by the limit of an earlier task of the batch: send this one before it, or alone"
                raise UniqueKeyTaken(f"tasks[{at}]: Task {task_id}, which has this unique_key, {why}", task_id=task_id)
        if self.held:
            self.kept = _read(db, self.held, cancelled, bounded=bounded)

    def created(self, row: NewTask, inserted: dict[str | UUID, Any]) -> Created:
        """Return the task of a row of the request; `inserted` are the new ones, by key or id."""
        name = row.unique_key or row.id
        return Created(inserted[name], True) if name in inserted else Created(self.kept[str(name)], False)


def has_keys(rows: Sequence[HasKey]) -> bool:
    """Whether one of these has a `unique_key`."""
    return any(row.unique_key is not None for row in rows)


def match_keys(db: Session, rows: Sequence[NewTask]) -> Keyed:
    """Find the tasks that have the keys of these rows, of one user, and say which are to be replaced.

    Writes nothing. Raises UniqueKeyTaken.
    """
    if not has_keys(rows):
        return Keyed(rows)
    by_key = _by_key(rows)
    held = holders(db, rows[0].user_id, by_key)
    for key, task_id in held.items():
        first = by_key[key].first
        if rows[first].wanted.on_conflict is OnConflict.REJECT:
            raise _taken(task_id, rows, first)
    # In one order, as `change_held` keeps it.
    new = [rows[by_key[key].new] for key in sorted(by_key) if key not in held]
    keyed = Keyed([*new, *(row for row in rows if row.unique_key is None)], held=held)
    limited = min((at for at, row in enumerate(rows) if row.limit and row.unique_key not in held), default=len(rows))
    for key, task_id in sorted(held.items()):
        wanted = by_key[key]
        if wanted.first > limited:
            keyed.behind_limits[task_id] = wanted.first
        last = wanted.first if wanted.replacement is None else wanted.replacement
        if followers := rows[last].values.get("followers"):
            keyed.followers[task_id] = followers
        if wanted.replacement is not None:
            task = _replaceable(db, task_id, rows, last)
            keyed.growth += added_load(task, rows[last])
            keyed.replacing[task_id] = (task, rows[last])
    return keyed


def attempts(
    db: Session, rows: Sequence[HasKey], *, savepoint: bool
) -> Iterator[AbstractContextManager[object]]:  # fmt: skip
    """Yield blocks in which to write the rows: a next one only if another transaction was faster. Break after success.

    `savepoint`: an error leaves the transaction as it was before the block, also where no row has a key.

    Raises UniqueKeyTaken after TRIES.
    """
    if not has_keys(rows):
        yield db.begin_nested() if savepoint else nullcontext()
        return
    for _ in range(TRIES):
        yield _undone_if_overtaken(db)
    raise UniqueKeyTaken(_FASTER)


def take_again(db: Session, task: HasKey, restart: Callable[[], bool]) -> bool:
    """Call `restart`, which makes an ended task pending, and return its answer.

    Raises UniqueKeyTaken if another task has the key meanwhile, and leaves the transaction as it was.
    """
    if task.unique_key is None:
        return restart()
    for _ in range(TRIES):
        with _undone_if_overtaken(db):
            return restart()
        for task_id in holders(db, task.user_id, [task.unique_key]).values():
            raise _taken(task_id)
    raise UniqueKeyTaken(_FASTER)


_HOLDERS = select(Task.active_key, Task.id).where(
    Task.user_id == bindparam("p_user_id"), conditions.is_one_of(Task.active_key, "p_keys")
)


def holders(db: Session, user_id: UUID, keys: Collection[str]) -> dict[str, UUID]:
    """The user's pending and running tasks that have one of these keys: their ids, by the key."""
    found = db.execute(_HOLDERS, {"p_user_id": user_id, "p_keys": list(keys)})
    return {row.active_key: row.id for row in found}


@contextmanager
def _undone_if_overtaken(db: Session) -> Iterator[None]:
    """A savepoint. If another transaction was faster, the block is undone and ends without an error."""
    try:
        with db.begin_nested():
            yield
    except _Overtaken:
        pass
    except IntegrityError as error:
        if not is_taken(error):
            raise


def is_taken(error: IntegrityError) -> bool:
    """Whether the statement failed because another task has the key."""
    diagnosis = getattr(error.orig, "diag", None)
    if diagnosis is not None:
        return bool(diagnosis.constraint_name == UNIQUE_KEY)
    said = str(next(reversed(error.orig.args), "")) if error.orig is not None else ""
    return sqlstate(error) == UNIQUE_VIOLATION and said.endswith((_OF_MYSQL, _OF_SQLITE))


def _replaceable(db: Session, task_id: UUID, rows: Sequence[NewTask], at: int) -> Task:
    """Return the task that `rows[at]` replaces. Raises UniqueKeyTaken if it may not be replaced."""
    task, row = task_queries.find(db, task_id), rows[at]
    if task is None or task.active_key != row.unique_key:
        raise _Overtaken
    if task.celery_task_name != row.wanted.celery_task_name:
        raise _taken(task_id, rows, at, "it has another celery_task_name")
    if task.status is not TaskStatus.PENDING:
        raise _taken(task_id, rows, at, f"it is {task.status}")
    if task.workflow_id is not None:
        raise _taken(task_id, rows, at, "it is part of a workflow")
    if row.parents and (task_id in row.parents or ConsumerNumber.CHILDREN.is_in(task.followers)):
        raise _taken(task_id, rows, at, "others depend on it, and would depend on themselves")
    return task


def _read(db: Session, held: dict[str, UUID], cancelled: Collection[UUID], *, bounded: bool) -> dict[str, Task]:
    ids = list(held.values())
    if bounded and len(ids) > 1 and task_queries.bytes_of(db, ids) > MAX_KEPT_BYTES:
        raise KeptTasksTooLarge
    found = {task.id: task for task in task_queries.find_all(db, ids)}
    for key, task_id in held.items():
        has_ended = task_id not in found or found[task_id].active_key != key
        if has_ended and task_id not in cancelled:  # another transaction has ended it since
            raise _Overtaken
    return {key: found[task_id] for key, task_id in held.items()}


def _by_key(rows: Sequence[NewTask]) -> dict[str, _Wanted]:
    """Raises UniqueKeyTaken if a task of the batch may not have a key that an earlier one has."""
    found: dict[str, _Wanted] = {}
    for at, row in enumerate(rows):
        if row.unique_key is None:
            continue
        wanted = row.wanted
        replaces = at if wanted.on_conflict is OnConflict.REPLACE else None
        known = found.setdefault(row.unique_key, _Wanted(at, at, replaces))
        if known.first == at or wanted.on_conflict is OnConflict.RETURN:
            continue
        if replaces is None or wanted.celery_task_name != rows[known.first].wanted.celery_task_name:
            raise UniqueKeyTaken(f"tasks[{at}]: tasks[{known.first}] of the batch has this unique_key")
        known.new = known.replacement = at
    return found


def _taken(task_id: UUID, rows: Sequence[NewTask] = (), at: int = 0, why: str = "") -> UniqueKeyTaken:
    where = f"tasks[{at}]: " if len(rows) > 1 else ""
    reason = f", and cannot be replaced: {why}" if why else ""
    return UniqueKeyTaken(f"{where}Task {task_id} has this unique_key{reason}", task_id=task_id)
